"""Builds in real child processes: whatever the child does, there is an answer and nothing is left behind."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from hydro.tuner.building.limits import BuildLimits
from hydro.tuner.building.process_builder import ProcessBuilder
from hydro.tuner.building.request import BuildRequest, BuildResult

CHILD = """
import os, subprocess, sys, time
from hydro.kit.parent import die_with_parent
from hydro.tuner.building.request import BuildRequest, BuildResult

die_with_parent(int(sys.argv[1]))
request = BuildRequest.from_json(sys.stdin.read())

def answer():
    print(BuildResult(width=request.width, report="built").to_json())

def crash():
    print("first", "second", sep="\\n", file=sys.stderr, flush=True)
    os._exit(7)

def babble():
    print("x" * 1_000_000, file=sys.stderr)
    answer()

def hoard():
    held = bytearray(400 * 2**20)
    time.sleep(600)

def hang():
    open(request.artifact_path, "w").write(f"{os.getpid()}")
    time.sleep(600)

def hang_with_a_grandchild():
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open(request.artifact_path, "w").write(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)

def better_it_for_ever():
    answer()
    sys.stdout.flush()
    time.sleep(600)

def crash_while_bettering_it():
    answer()
    print('{"width": 0.2', end="", flush=True)
    os._exit(7)

def better_it():
    answer()
    print(BuildResult(width=request.width, report="bettered").to_json())

def tell_the_steps():
    print(BuildResult(report=str(request.max_steps)).to_json())

def leave_a_grandchild():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    answer()

globals()[request.entry_point]()
"""

AHEAD = """
import os, sys
from hydro.tuner.building.request import BuildResult
open(sys.argv[1], "a").write(f"{os.getpid()}\\n")
sys.stdin.read()
print(BuildResult(report=str(os.getpid())).to_json())
"""

PARENT = """
import asyncio, sys
from hydro.tuner.building.limits import BuildLimits
from hydro.tuner.building.process_builder import ProcessBuilder
from hydro.tuner.building.request import BuildRequest

request = BuildRequest("hang", "", 0.5, {}, "loss", "", sys.argv[2], 1)
asyncio.run(ProcessBuilder(BuildLimits(), command=[sys.executable, sys.argv[1]]).build(request))
"""


@pytest.fixture
def child(tmp_path: Path) -> Path:
    path = tmp_path / "child.py"
    path.write_text(CHILD)
    return path


@pytest.fixture
def builder(child: Path):
    def make(**limits: float) -> ProcessBuilder:
        return ProcessBuilder(BuildLimits(**limits), command=[sys.executable, str(child)])  # type: ignore[arg-type]

    return make


def asking_for(behaviour: str, path: Path | str = "") -> BuildRequest:
    return BuildRequest(behaviour, "", 0.5, {}, "loss", "", str(path), 1)


async def written(path: Path) -> list[int]:
    """The process ids that a child wrote, once it has."""
    while not (path.exists() and path.read_text()):
        await asyncio.sleep(0.02)
    return [int(each) for each in path.read_text().split()]


async def gone(process: int) -> bool:
    """Waits for a process that was killed to disappear; the test's own limit ends a wait for one that was not."""
    while True:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                await asyncio.sleep(0.02)
                continue
        return True


async def test_the_childs_result_comes_back(builder):
    assert await builder().build(asking_for("answer")) == BuildResult(width=0.5, report="built")


@pytest.fixture
async def ahead(tmp_path: Path) -> AsyncIterator[tuple[ProcessBuilder, int]]:
    """A builder, and the process that it has started ahead of any request."""
    path, started = tmp_path / "ahead.py", tmp_path / "ids"
    path.write_text(AHEAD)
    builder = ProcessBuilder(BuildLimits(), command=[sys.executable, str(path), str(started)])
    builder.keep_spare()
    (process,) = await written(started)
    yield builder, process
    await builder.close()
    assert await gone(process)


async def test_a_child_that_was_started_ahead_takes_the_next_request(ahead):
    builder, process = ahead
    assert (await builder.build(asking_for("answer"))).report == str(process)
    # Until the next one is started ahead, a build starts its own.
    assert (await builder.build(asking_for("answer"))).report not in ("", str(process))


async def test_a_child_that_died_ahead_of_its_request_is_replaced(ahead):
    builder, process = ahead
    os.kill(process, signal.SIGKILL)
    assert await gone(process)
    await asyncio.sleep(0.2)
    assert (await builder.build(asking_for("answer"))).report not in ("", str(process))


async def test_a_child_that_was_started_ahead_with_other_threads_is_replaced(ahead):
    builder, process = ahead
    request = replace(asking_for("answer"), threads=2)
    assert (await builder.build(request)).report not in ("", str(process))


async def test_a_crash_is_a_failure_with_the_last_lines(builder):
    result = await builder().build(asking_for("crash"))
    assert result.failure == "the build's process ended with status 7\nfirst\nsecond"


async def test_endless_lines_on_standard_error_do_no_harm(builder):
    assert (await builder().build(asking_for("babble"))).report == "built"


async def test_a_build_that_takes_too_long_is_killed(builder, tmp_path):
    result = await builder(timeout_seconds=2.0).build(asking_for("hang_with_a_grandchild", tmp_path / "ids"))
    assert "did not end within 2 seconds" in result.failure
    assert "HYDRO_TUNER_BUILD_TIMEOUT_SECONDS" in result.failure
    for process in await written(tmp_path / "ids"):
        assert await gone(process)


@pytest.mark.parametrize(
    ("behaviour", "report"),
    [("better_it", "bettered"), ("better_it_for_ever", "built"), ("crash_while_bettering_it", "built")],
)
async def test_the_last_whole_result_holds_however_the_build_ends(builder, behaviour, report):
    result = await builder(timeout_seconds=3.0).build(asking_for(behaviour))
    assert (result.failure, result.report) == ("", report)


async def test_where_compiling_is_switched_off_the_build_does_not_learn_how_long_trainings_are(builder):
    request = replace(asking_for("tell_the_steps"), max_steps=800)
    assert (await builder().build(request)).report == "800"
    assert (await builder(compiles=False).build(request)).report == "0"


async def test_a_build_that_takes_too_much_memory_is_killed(builder):
    result = await builder(memory_bytes=200 * 2**20).build(asking_for("hoard"))
    assert "may use 200" in result.failure
    assert "HYDRO_TUNER_BUILD_MEMORY_BYTES" in result.failure


async def test_a_cancelled_build_leaves_no_process(builder, tmp_path):
    build = asyncio.create_task(builder().build(asking_for("hang_with_a_grandchild", tmp_path / "ids")))
    processes = await written(tmp_path / "ids")
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    for process in processes:
        assert await gone(process)


async def test_what_the_child_leaves_running_holds_nothing_up(builder):
    assert (await builder().build(asking_for("leave_a_grandchild"))).report == "built"


async def test_builds_wait_for_a_place(builder, tmp_path):
    limited = builder()
    first = asyncio.create_task(limited.build(asking_for("hang", tmp_path / "first")))
    await written(tmp_path / "first")
    second = asyncio.create_task(limited.build(asking_for("answer")))
    done, _ = await asyncio.wait([second], timeout=0.5)
    assert not done
    first.cancel()
    assert (await second).report == "built"


async def test_the_child_dies_with_the_service_that_started_it(child, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, child, tmp_path / "ids"])
    (process,) = await written(tmp_path / "ids")
    parent.kill()
    parent.wait()
    assert await gone(process)
