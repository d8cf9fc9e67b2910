"""The gate that notes how long segments take."""

import pytest

from hydro.tuner.planning.recording_gate import RecordingGate


@pytest.fixture
def gate():
    seconds = iter([0.0, 1.0, 1.0, 4.0, 4.0, 5.0])
    return RecordingGate(lambda: next(seconds))


def test_the_longest_segment_is_the_one_whose_name_has_the_largest_percentile(gate):
    for name in ("forward", "backward", "forward"):
        with gate.segment(name):
            pass
    assert gate.longest_segment_seconds() == 3.0


def test_what_was_forgotten_does_not_count(gate):
    for name in ("forward", "backward"):
        with gate.segment(name):
            pass
    gate.forget()
    with gate.segment("forward"):
        pass
    assert gate.longest_segment_seconds() == 1.0


def test_a_gate_without_segments_has_no_longest_one():
    assert RecordingGate(lambda: 0.0).longest_segment_seconds() == 0.0
