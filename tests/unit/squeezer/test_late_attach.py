"""The hook of `hydro bubbles` comes into a run by itself, and leaves everything else in it as it was."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks import attachment
from hydro.squeezer.hooks.injection import late_attach, python_path

ENGINE = """
class Engine:
    def step(self, value):
        return value + 1
"""


@pytest.fixture
def engine_type(tmp_path, monkeypatch):
    """A class whose module is imported while the hook watches for it."""
    (tmp_path / "made_up_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(late_attach, "STEPS", {"made_up_engine": (("Engine", "step"), ("Missing", "step"))})
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    late_attach.install()
    yield importlib.import_module("made_up_engine").Engine
    del sys.modules["made_up_engine"]


def test_first_step_of_each_engine_attaches_the_hook_and_runs_through_it(engine_type, monkeypatch):
    attached = []

    def attach(engine):
        attached.append(engine)
        plain = engine.step
        engine.step = lambda value: 100 + plain(value)
        return SimpleNamespace(is_active=True)

    monkeypatch.setattr(attachment, "attach", attach)
    engine, other = engine_type(), engine_type()
    assert [engine.step(1), engine.step(2), other.step(3)] == [102, 103, 104]
    assert attached == [engine, other]


def test_engine_that_the_script_attached_itself_is_left_to_it(engine_type, monkeypatch):
    monkeypatch.setattr(attachment, "attach", lambda engine: pytest.fail("attached twice"))
    engine = engine_type()
    vars(engine)[attachment.ATTACHED] = True
    assert engine.step(1) == 2


def test_run_goes_on_when_its_engine_is_refused(engine_type, monkeypatch, capsys):
    def attach(engine):
        raise FailedPrecondition("engine: of next year")

    monkeypatch.setattr(attachment, "attach", attach)
    engine = engine_type()
    assert [engine.step(1), engine.step(2)] == [2, 3]
    assert capsys.readouterr().err.count("the run goes on without its hook: engine: of next year") == 1


def test_sitecustomize_of_the_environment_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('theirs')")
    environment = os.environ | {"PYTHONPATH": python_path(os.pathsep.join([str(tmp_path), *sys.path]))}
    program = "import sys; print(type(sys.meta_path[0]).__name__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["theirs", "_EngineFinder", "False"]
    assert done.stderr == ""
