"""Imported by Python's start where `hydro bubbles` has put this folder on the path: see the package's docstring."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path


def _run_other() -> None:
    """Runs the `sitecustomize` that this one stands before, if there is one."""
    here = Path(__file__).parent
    others = [each for each in sys.path if Path(each or ".").resolve() != here.resolve()]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _install() -> None:
    try:
        from hydro.squeezer.hooks.injection.late_attach import install
    except ImportError:
        # Another Python of the run, without Hydro.
        return
    install()


_run_other()
_install()
