"""Processes that die with what started them."""

import os
import shutil
import subprocess
import sys

import pytest

from hydro.kit.parent import tethered_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the promise is Linux's")

WAITS = 'import signal; print("ready", flush=True); signal.pause()'
STARTS_ONE = f"""
import subprocess, sys
from hydro.kit.parent import tethered_command
subprocess.Popen(tethered_command([sys.executable, "-c", {WAITS!r}]))
sys.stdin.read()
"""
WORKS_AS_A_CHILD_OF_NOBODY = 'from hydro.kit.parent import die_with_parent; die_with_parent(1234567); print("works")'


def run(command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_python(program, *arguments, **options):
    return run(tethered_command([sys.executable, "-c", program, *arguments], **options))


def test_a_tethered_command_dies_with_its_killed_parent():
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.kill()
        # Both write to this stream, so that its end is the end of both.
        assert parent.stdout.read() == b""


def test_a_tethered_command_gets_its_arguments_and_gives_its_status():
    done = run_python("import sys; print(sys.argv[1:]); sys.exit(7)", "-", "a b", "")
    assert (done.stdout, done.returncode) == ("['-', 'a b', '']\n", 7)


def test_a_tethered_command_runs_on_the_cores_it_is_given():
    core = min(os.sched_getaffinity(0))
    done = run_python("import os; print(os.sched_getaffinity(0))", cores=[core])
    assert done.stdout == f"{{{core}}}\n"


def test_cores_that_the_machine_does_not_have_pin_nothing():
    done = run_python("import os; print(len(os.sched_getaffinity(0)))", cores=[100_000])
    assert done.stdout == f"{len(os.sched_getaffinity(0))}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its account")
def test_a_tethered_command_runs_as_the_account_it_is_given():
    done = run(tethered_command([shutil.which("sh"), "-c", "id -u; id -g; id -G"], account=(65534, 65534)))
    assert done.stdout.split() == ["65534", "65534", "65534"]


def test_a_process_whose_parent_is_gone_does_not_start_its_work():
    done = run([sys.executable, "-c", WORKS_AS_A_CHILD_OF_NOBODY])
    assert (done.stdout, done.returncode) == ("", 1)
    assert "process 1234567, which started this one, is gone" in done.stderr
