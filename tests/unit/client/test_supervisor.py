"""The supervisor, over small stand-ins for the services."""

import asyncio
import os
import signal
import sys
from dataclasses import replace

import pytest

from hydro.client.suite.child import ChildSpec
from hydro.client.suite.supervisor import Happening, Supervisor, backoff_seconds
from hydro.kit.clock import SystemClock
from hydro.kit.errors import Internal, Unavailable

SERVES = "import pathlib, signal, sys; pathlib.Path(sys.argv[1]).touch(); signal.pause()"
DIES = "import sys; print('no database'); sys.exit(3)"


def stand_in(folder, name, program=SERVES):
    mark = folder / f"{name}.ready"

    async def is_ready():
        return mark.exists()

    command = [sys.executable, "-S", "-c", program, str(mark)]
    return ChildSpec(name, command, dict(os.environ), folder / f"{name}.log", is_ready)


async def until(reports, child, happening, count=1):
    async with asyncio.timeout(20):
        while [(each.child, each.happening) for each in reports].count((child, happening)) < count:
            await asyncio.sleep(0.01)


def alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


WAITS = (
    "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).with_name('two.ready').exists(): time.sleep(.01)\n"
)


async def test_children_start_at_once_and_stop_in_reverse_order(tmp_path):
    reports = []
    waiting, serving = stand_in(tmp_path, "one", WAITS + SERVES), stand_in(tmp_path, "two")
    supervisor = Supervisor([waiting, serving], SystemClock(), reports.append)
    await supervisor.start()
    await supervisor.stop()
    *ready, last, first = [(each.child, each.happening) for each in reports]
    assert set(ready) == {("one", Happening.READY), ("two", Happening.READY)}
    assert (last, first) == (("two", Happening.STOPPED), ("one", Happening.STOPPED))


async def test_a_child_is_prepared_before_its_first_start_alone(tmp_path):
    prepared = []
    spec = replace(stand_in(tmp_path, "one"), prepare=lambda: prepared.append((tmp_path / "one.ready").exists()))
    reports = []
    supervisor = Supervisor([spec], SystemClock(), reports.append)
    await supervisor.start()
    os.kill(supervisor.keepers[0].process_id, signal.SIGKILL)
    await until(reports, "one", Happening.READY, count=2)
    await supervisor.stop()
    assert prepared == [False]


async def test_what_cannot_be_prepared_is_an_error_and_stops_the_others(tmp_path):
    def refuse():
        raise Internal("no disk")

    specs = [stand_in(tmp_path, "one"), replace(stand_in(tmp_path, "two"), prepare=refuse)]
    supervisor = Supervisor(specs, SystemClock(), lambda report: None)
    with pytest.raises(Internal, match="no disk"):
        await supervisor.start()
    assert all(keeper.process_id is None for keeper in supervisor.keepers)


async def test_a_child_that_dies_is_started_again_and_the_others_go_on(tmp_path):
    reports = []
    supervisor = Supervisor([stand_in(tmp_path, "one"), stand_in(tmp_path, "two")], SystemClock(), reports.append)
    await supervisor.start()
    first, second = (keeper.process_id for keeper in supervisor.keepers)
    os.kill(first, signal.SIGKILL)
    await until(reports, "one", Happening.READY, count=2)
    assert supervisor.keepers[0].process_id not in (None, first)
    assert supervisor.keepers[1].process_id == second
    assert next(each for each in reports if each.happening is Happening.DIED).detail == "killed by SIGKILL"
    await supervisor.stop()


async def test_no_process_is_left_after_stop(tmp_path):
    supervisor = Supervisor([stand_in(tmp_path, "one")], SystemClock(), lambda report: None)
    await supervisor.start()
    process_id = supervisor.keepers[0].process_id
    await supervisor.stop()
    assert not alive(process_id)
    assert supervisor.keepers[0].process_id is None


async def test_a_child_that_never_starts_is_an_error_with_its_log_and_stops_the_others(tmp_path):
    reports = []
    specs = [stand_in(tmp_path, "one"), stand_in(tmp_path, "two", DIES)]
    supervisor = Supervisor(specs, SystemClock(), reports.append)
    with pytest.raises(Unavailable, match=r"two does not start[\s\S]*no database"):
        await supervisor.start()
    assert all(keeper.process_id is None for keeper in supervisor.keepers)


def test_the_backoff_doubles_up_to_a_limit():
    assert [backoff_seconds(deaths) for deaths in (1, 2, 3, 4, 20)] == [0.1, 0.2, 0.4, 0.8, 10.0]
