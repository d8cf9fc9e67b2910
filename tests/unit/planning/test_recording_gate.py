"""The gate that notes how long parts take that run undivided."""

import pytest

from hydro.tuner.planning.recording_gate import RecordingGate


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def gate(clock):
    return RecordingGate(clock)


def run(gate, clock, name, *parts):
    """A segment whose parts take so long, with a pause between each two."""
    with gate.segment(name):
        for index, seconds in enumerate(parts):
            if index and gate.pause:
                gate.pause()
            clock.now += seconds


def test_the_longest_part_is_told_of_segments_that_cannot_pause(gate, clock):
    with gate.recording():
        run(gate, clock, "forward", 1.0)
        run(gate, clock, "backward", 3.0)
    assert gate.longest_part_seconds() == 3.0


def test_a_segment_that_pauses_counts_by_its_parts(gate, clock):
    with gate.recording():
        run(gate, clock, "forward", 1.0, 2.0, 1.0)
        run(gate, clock, "optimizer", 1.5)
    assert gate.longest_part_seconds() == 2.0


def test_one_slow_round_of_a_short_part_is_not_the_longest_part(gate, clock):
    with gate.recording():
        for short in (1.0, 1.0, 9.0):
            run(gate, clock, "forward", short, 2.0)
    assert gate.longest_part_seconds() == 2.0


def test_nothing_pauses_or_is_recorded_but_while_it_records(gate, clock):
    run(gate, clock, "forward", 5.0, 5.0)
    assert gate.pause is None
    with gate.recording():
        run(gate, clock, "forward", 1.0)
    run(gate, clock, "forward", 5.0)
    assert gate.longest_part_seconds() == 1.0


def test_what_was_recorded_before_does_not_count(gate, clock):
    for seconds in (3.0, 1.0):
        with gate.recording():
            run(gate, clock, "forward", seconds)
    assert gate.longest_part_seconds() == 1.0


def test_a_part_ends_when_what_it_launched_has_ended(clock):
    def synchronize():
        clock.now += 1.0

    gate = RecordingGate(clock, synchronize)
    with gate.recording():
        run(gate, clock, "forward", 0.5, 0.5)
    assert gate.longest_part_seconds() == 1.5


def test_a_gate_without_segments_has_no_longest_part(gate):
    assert gate.longest_part_seconds() == 0.0
