"""Lanes are fitted to the memory of a slot."""

import pytest

from hydro.worker.slot_memory import LOOK_SECONDS, SlotMemory


class Now:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.mark.parametrize(
    ("room", "fitting"),
    [(0, None), (-1, 7), (-100, 7), (-101, 6), (-799, 0), (-5000, 0), (100, None), (125, 9), (400, 11)],
)
def test_so_many_lanes_fit_as_the_room_says_at_what_one_holds(room, fitting):
    assert SlotMemory(lambda: room, lambda: 800, Now()).fitting_lanes(8) == fitting


def test_memory_that_a_lane_has_freed_does_not_let_it_back_in():
    lanes, lane_bytes = 8, 100
    lanes = SlotMemory(lambda: -150, lambda: lanes * lane_bytes, Now()).fitting_lanes(lanes)
    room = -150 + (8 - lanes) * lane_bytes
    assert lanes == 6
    assert SlotMemory(lambda: room, lambda: lanes * lane_bytes, Now()).fitting_lanes(lanes) is None


def test_a_change_has_time_to_show():
    now = Now()
    memory = SlotMemory(lambda: -100, lambda: 800, now)
    assert memory.fitting_lanes(8) == 7
    assert memory.fitting_lanes(7) is None
    now.seconds += LOOK_SECONDS
    assert memory.fitting_lanes(7) == 6
