"""The hook's interface: what adapters tell reaches listeners with times, and nothing in it can end the run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hydro.squeezer.events import EventKind
from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.step_probe import StepProbe
from hydro.squeezer.hooks.stream_marks import CAPACITY, StreamMarks
from hydro.squeezer.pipeline import StageMemory


class Listener:
    """Remembers what it is told."""

    activities = frozenset(Activity)

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.stamps: list[int] = []
        self.memories: list[StageMemory] = []

    def take(self, kind, stamp_ns, schedule_index, step, activity):
        self.stamps.append(stamp_ns)
        self.events.append((kind.name, activity, schedule_index, step))

    def take_memory(self, memory):
        self.memories.append(memory)


class Broken(Listener):
    def take(self, *event):
        raise RuntimeError("no room")


def step_of(probe, *activities, shapes=None):
    def work():
        for each in activities:
            probe.run(each, lambda: None)

    probe.step(shapes, work)


def test_each_listener_gets_every_event_in_order_with_its_time():
    first, second = Listener(), Listener()
    hook = StageHook([first, second])
    before_ns = time.monotonic_ns()
    hook.step_begin(7)
    hook.begin(Activity.WAIT, 3)
    hook.end(Activity.WAIT, 3)
    hook.step_end(7)
    assert first.events == second.events
    assert [each[0] for each in first.events] == ["STEP_BEGIN", "BEGIN", "END", "STEP_END"]
    assert first.events[1] == ("BEGIN", Activity.WAIT, 3, 7)
    assert first.stamps == sorted(first.stamps)
    assert before_ns <= first.stamps[0] <= first.stamps[-1] <= time.monotonic_ns()
    assert hook.cost_ns > 0


def test_hook_that_breaks_is_silent_from_then_on():
    listener, broken = Listener(), Broken()
    hook = StageHook([listener, broken])
    hook.step_begin(0)
    hook.step_begin(1)
    hook.memory(StageMemory)
    assert len(listener.events) == 1
    assert listener.memories == []


def test_memory_that_cannot_be_measured_does_not_reach_the_run():
    def measure():
        raise OSError("no such device")

    StageHook([Listener()]).memory(measure)


def test_schedule_index_is_the_place_in_the_step():
    listener = Listener()
    probe = StepProbe(StageHook([listener]))
    for _ in range(2):
        step_of(probe, Activity.WAIT, Activity.FORWARD, Activity.WAIT, Activity.BACKWARD)
    begins = [each for each in listener.events if each[0] == "BEGIN"]
    assert [each[2] for each in begins] == [0, 1, 2, 3] * 2
    assert [each[3] for each in begins] == [0] * 4 + [1] * 4
    assert len(listener.memories) == 2


def test_bubble_inside_a_bubble_is_one_and_inside_the_optimizer_its_own():
    listener = Listener()
    probe = StepProbe(StageHook([listener]))

    def collective():
        return probe.run(Activity.COLLECTIVE, lambda: 5)

    assert probe.step(None, lambda: probe.run(Activity.WAIT, collective)) == 5
    assert [each[1] for each in listener.events if each[0] == "BEGIN"] == [Activity.WAIT]
    probe.step(None, lambda: probe.run(Activity.OPTIMIZER, collective))
    assert [each[1] for each in listener.events if each[0] == "BEGIN"][1:] == [Activity.OPTIMIZER, Activity.COLLECTIVE]


def test_keywords_of_a_call_are_its_own():
    probe = StepProbe(StageHook([]))
    assert probe.step(None, dict, shapes=1, function=2) == {"shapes": 1, "function": 2}
    assert probe.run(Activity.FORWARD, dict, activity=3) == {"activity": 3}


def test_calls_outside_of_steps_are_not_told():
    listener = Listener()
    assert StepProbe(StageHook([listener])).run(Activity.FORWARD, lambda: 3) == 3
    assert listener.events == []


def test_step_that_fails_ends_and_raises_as_without_the_hook():
    listener = Listener()
    probe = StepProbe(StageHook([listener]))

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        probe.step(None, lambda: probe.run(Activity.FORWARD, fail))
    assert [each[0] for each in listener.events] == ["STEP_BEGIN", "BEGIN", "END", "STEP_END"]


@pytest.mark.parametrize(
    ("earlier", "later", "changes"),
    [
        (((Activity.WAIT, Activity.FORWARD), 4), ((Activity.WAIT, Activity.FORWARD), 4), 0),
        (((Activity.WAIT, Activity.FORWARD), 4), ((Activity.FORWARD, Activity.WAIT), 4), 1),
        (((Activity.WAIT, Activity.FORWARD), 4), ((Activity.WAIT, Activity.FORWARD), 8), 1),
        # A step that overflowed has no optimizer's collective, and is the same schedule.
        (((Activity.FORWARD, Activity.COLLECTIVE), 4), ((Activity.FORWARD,), 4), 0),
    ],
)
def test_schedule_changes_with_its_order_and_its_shapes(earlier, later, changes):
    listener = Listener()
    probe = StepProbe(StageHook([listener]))
    for activities, shapes in (earlier, later):
        step_of(probe, *activities, shapes=shapes)
    assert [each[0] for each in listener.events].count("SCHEDULE_CHANGED") == changes


class ScriptedEvent:
    """A point of a stream whose device is where the test says."""

    def __init__(self, stream: ScriptedStream, at_ms: float) -> None:
        self.stream, self.at_ms = stream, at_ms

    def query(self) -> bool:
        return self.stream.reached_ms >= self.at_ms

    def elapsed_time(self, end_event: ScriptedEvent) -> float:
        return end_event.at_ms - self.at_ms


class ScriptedStream:
    def __init__(self) -> None:
        self.launched_ms, self.reached_ms = 0.0, -1.0

    def record(self) -> ScriptedEvent:
        return ScriptedEvent(self, self.launched_ms)


def wait_for(count, listener):
    while len(listener.events) < count:
        time.sleep(0.001)


def test_on_a_stream_times_are_those_of_the_device_and_not_of_the_host():
    stream, listener = ScriptedStream(), Listener()
    hook = StageHook([listener], StreamMarks(stream))
    hook.step_begin(0)
    # The host runs through a receive of 20 ms at once.
    stream.launched_ms = 5.0
    hook.begin(Activity.WAIT, 0)
    stream.launched_ms = 25.0
    hook.end(Activity.WAIT, 0)
    time.sleep(0.02)
    assert listener.events == []
    stream.reached_ms = 5.0
    wait_for(2, listener)
    assert [each[0] for each in listener.events] == ["STEP_BEGIN", "BEGIN"]
    stream.reached_ms = 25.0
    wait_for(3, listener)
    step_ns, begin_ns, end_ns = listener.stamps
    assert (begin_ns - step_ns, end_ns - begin_ns) == (5_000_000, 20_000_000)
    hook.close()


def test_marks_on_a_stream_that_stands_still_are_bounded():
    listener = Listener()
    marks = StreamMarks(ScriptedStream())
    hook = StageHook([listener], marks)
    for _ in range(CAPACITY + 10):
        hook.step_begin(0)
    assert marks.dropped == 10
    hook.close()
    assert listener.events == []


def test_event_kinds_are_stable():
    assert [each.value for each in EventKind] == [1, 2, 3, 4, 5]


def test_activities_that_no_listener_takes_are_not_even_marked():
    class OfBubbles(Listener):
        activities = frozenset({Activity.WAIT})

    def told(*listeners):
        hook = StageHook(listeners)
        for activity in (Activity.FORWARD, Activity.WAIT):
            hook.begin(activity, 0)
            hook.end(activity, 0)
        return [[each[1] for each in listener.events] for listener in listeners]

    assert told(OfBubbles()) == [[Activity.WAIT] * 2]
    assert told(OfBubbles(), Listener()) == [[Activity.WAIT] * 2, [Activity.FORWARD] * 2 + [Activity.WAIT] * 2]
