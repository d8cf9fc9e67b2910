from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hydro.kit.clock import ManualClock
from hydro.kit.errors import Aborted, FailedPrecondition, NotFound
from hydro.squeezer.events import EventKind, EventWriter
from hydro.squeezer.gate import STATUS, GateLost, PageStatus
from hydro.squeezer.gpu.simulated_gpu import SimulatedGpu
from hydro.squeezer.pipeline import Stage, StageMemory
from hydro.squeezer.slot import Claim, SlotName
from hydro.squeezer.squeezer import Squeezer, SqueezerSettings
from hydro.squeezer.statistics import summarize
from hydro.squeezer.worker_gate import WorkerGate

GIB = 1 << 30
BUBBLE_NS, STEP_NS = 20_000_000, 50_000_000
NAME = SlotName.parse("devices/gpu-0/slots/run-1")


class Suite:
    """A squeezer whose stage's events are written by the test, with stamps of its own making."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.gpu = SimulatedGpu(16 * GIB)
        self.squeezer = Squeezer("devices/gpu-0", self.gpu, folder, SqueezerSettings(), self.clock)
        self.ring = EventWriter.create(folder / "run-1.events")
        self.stage = Stage("run", 1, 4, 4, "1F1B", "run-1.events", cpu_cores=(1,))
        self.now_ns = 1_000_000_000

    async def make_steps(self, count: int) -> None:
        """The stage makes steps, and the gatekeeper has seen them."""
        seen = self.steps_seen() + count
        for step in range(count):
            self.ring.write(EventKind.STEP_BEGIN, self.now_ns, step=step)
            self.ring.write(EventKind.BEGIN, self.now_ns, schedule_index=0, step=step)
            self.ring.write(EventKind.END, self.now_ns + BUBBLE_NS, schedule_index=0, step=step)
            self.now_ns += STEP_NS
            self.ring.write(EventKind.STEP_END, self.now_ns, step=step)
        await until(lambda: self.steps_seen() == seen)

    def steps_seen(self) -> int:
        return sum(each.totals.steps for each in self.squeezer.reports())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    made = Suite(tmp_path)
    yield made
    for attached in list(made.squeezer._stages.values()):
        made.squeezer.detach(attached)


async def test_slot_is_offered_once_five_steps_were_observed(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(4)
    suite.squeezer.look()
    assert suite.squeezer.offers() == ()
    with pytest.raises(NotFound, match="observed"):
        suite.squeezer.claim(NAME, Claim("leases/a", 1))
    await suite.make_steps(1)
    suite.squeezer.look()
    (offer,) = suite.squeezer.offers()
    assert offer.name == NAME
    assert offer.duty_cycle == pytest.approx(BUBBLE_NS / STEP_NS)
    assert offer.bubble_seconds == pytest.approx(BUBBLE_NS / 1e9, rel=0.1)
    assert offer.memory_bytes == 15 * GIB


async def test_memory_that_the_run_will_take_again_is_not_offered(suite: Suite) -> None:
    attached = suite.squeezer.attach(suite.stage)
    suite.squeezer.heard(attached, StageMemory(reserved_bytes=2 * GIB, peak_reserved_bytes=5 * GIB))
    await suite.make_steps(5)
    suite.squeezer.look()
    assert suite.squeezer.offers()[0].memory_bytes == 12 * GIB


async def test_gpu_that_does_not_answer_leaves_the_figure_as_it_was(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    suite.gpu.fails = True
    suite.squeezer.look()
    assert suite.squeezer.offers()[0].memory_bytes == 15 * GIB


async def test_stage_that_falls_silent_takes_its_slot_with_it(suite: Suite) -> None:
    attached = suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    gate = suite.squeezer.claim(NAME, Claim("leases/a", 1))
    suite.clock.advance(SqueezerSettings().stage_silence_seconds + 0.1)
    suite.squeezer.look()
    assert suite.squeezer.offers() == ()
    assert not (suite.ring.path.with_name(gate)).exists()
    with pytest.raises(Aborted, match="register"):
        suite.squeezer.heard(attached, StageMemory())


async def test_stage_that_registers_again_replaces_its_earlier_life(suite: Suite) -> None:
    first = suite.squeezer.attach(suite.stage)
    second = suite.squeezer.attach(suite.stage)
    suite.squeezer.detach(first)
    suite.squeezer.heard(second, StageMemory())
    assert len(suite.squeezer.reports()) == 1


async def test_stage_without_its_ring_is_refused(suite: Suite) -> None:
    suite.ring.close()
    with pytest.raises(FailedPrecondition, match="HYDRO_GATE_DIRECTORY"):
        suite.squeezer.attach(suite.stage)


async def test_watchers_hear_of_each_change_and_of_the_end(suite: Suite) -> None:
    heard: list[int] = []

    async def watch() -> None:
        async for offers in suite.squeezer.watch():
            heard.append(len(offers))

    running = asyncio.create_task(suite.squeezer.run())
    watching = asyncio.create_task(watch())
    # The clock is advanced once: the squeezer has to wait for it by then.
    await until(lambda: heard == [0])
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.clock.advance(0.1)
    await until(lambda: heard == [0, 1])
    running.cancel()
    await asyncio.wait({running})
    await watching
    assert heard == [0, 1]
    assert suite.squeezer.offers() == ()


async def test_two_stages_give_two_slots(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    other = EventWriter.create(suite.ring.path.with_name("other-0.events"))
    suite.squeezer.attach(Stage("other", 0, 2, 4, "1F1B", other.path.name))
    await suite.make_steps(5)
    suite.squeezer.look()
    assert [offer.name for offer in suite.squeezer.offers()] == [NAME]
    assert len(suite.squeezer.reports()) == 2


async def test_statistics_add_up(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(6)
    statistics = summarize(suite.squeezer.reports(), 0.01)
    assert (statistics.steps, statistics.bubbles, statistics.gates_opened) == (6, 6, 0)
    assert statistics.blank_step_seconds == pytest.approx(STEP_NS / 1e9)
    assert statistics.bubble_seconds == pytest.approx(6 * BUBBLE_NS / 1e9)
    assert statistics.slowdown == 0.0


async def test_memory_that_falls_under_the_headroom_in_mid_bubble_evicts_the_worker(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    worker = WorkerGate.attach(suite.ring.path.with_name(suite.squeezer.claim(NAME, Claim("leases/a", 1))))
    suite.gpu.hold(1, 15 * GIB)
    suite.squeezer.look()
    assert worker._words[STATUS] == PageStatus.LIVE
    suite.gpu.hold(1, 15 * GIB + 600 * 2**20)
    suite.squeezer.look()
    with pytest.raises(GateLost), worker.segment("forward"):
        pytest.fail("the block must not run")
    worker.detach()
    assert suite.squeezer.offers() == ()
    with pytest.raises(NotFound, match="memory"):
        suite.squeezer.claim(NAME, Claim("leases/b", 2))
    suite.gpu.hold(1, 4 * GIB)
    suite.squeezer.look()
    assert [offer.memory_bytes for offer in suite.squeezer.offers()] == [11 * GIB]
    suite.squeezer.claim(NAME, Claim("leases/b", 2))


async def test_a_worker_hears_what_memory_it_may_take_and_what_it_has_to_give_back(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    worker = WorkerGate.attach(suite.ring.path.with_name(suite.squeezer.claim(NAME, Claim("leases/a", 1))))
    heard = []
    # The headroom is 1 GiB; a quarter of it may go before the worker is asked for any.
    for held in (4 * GIB, 15 * GIB + 255 * 2**20, 15 * GIB + 256 * 2**20, 14 * GIB):
        suite.gpu.hold(1, held)
        suite.squeezer.look()
        heard.append(worker.memory_room_bytes)
    worker.detach()
    assert heard == [11 * GIB, 0, -256 * 2**20, GIB]


async def test_evicted_worker_that_keeps_its_memory_is_killed(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[str] = []
    monkeypatch.setattr("hydro.squeezer.squeezer.kill_worker", lambda gate: killed.append(gate.path.name))
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    gate = suite.squeezer.claim(NAME, Claim("leases/a", 1))
    suite.gpu.hold(1, 16 * GIB)
    suite.squeezer.look()
    suite.clock.advance(1.0)
    suite.squeezer.look()
    assert killed == []
    suite.clock.advance(2.0)
    suite.squeezer.look()
    suite.squeezer.look()
    assert killed == [gate]


async def test_run_that_comes_back_with_other_stages_is_observed_anew(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    gate = suite.squeezer.claim(NAME, Claim("leases/a", 1))
    resharded = EventWriter.create(suite.ring.path.with_name("resharded.events"))
    suite.squeezer.attach(Stage("run", 1, 8, 16, "1F1B", resharded.path.name))
    assert not suite.ring.path.with_name(gate).exists()
    suite.squeezer.look()
    assert suite.squeezer.offers() == ()
    suite.ring = resharded
    await suite.make_steps(5)
    suite.squeezer.look()
    assert [offer.name for offer in suite.squeezer.offers()] == [NAME]
    suite.squeezer.claim(NAME, Claim("leases/b", 1))


async def test_slight_change_of_memory_is_no_news(suite: Suite) -> None:
    suite.squeezer.attach(suite.stage)
    await suite.make_steps(5)
    suite.squeezer.look()
    first = suite.squeezer.offers()
    suite.gpu.hold(1, GIB)
    suite.squeezer.look()
    assert suite.squeezer.offers() is first
    suite.gpu.hold(1, 8 * GIB)
    suite.squeezer.look()
    assert suite.squeezer.offers()[0].memory_bytes == 7 * GIB
