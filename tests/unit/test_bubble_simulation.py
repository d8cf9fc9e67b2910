"""The model of pipelines with trials in their bubbles: schedules that are possible, bubbles as the theory has them."""

from dataclasses import replace

import pytest

from benchmarks.bubble_simulation.model import Calibration, Cluster, Simulation, topological_order
from benchmarks.bubble_simulation.schedules import SCHEDULES, Kind, interleaved_schedule
from hydro.squeezer.pipeline import bubble_share

STEADY = Calibration(
    forward_variation=0.0,
    backward_variation=0.0,
    backward_per_forward=2.0,
    begin_seconds=0.0001,
    segment_seconds=0.0002,
    segment_p99_seconds=0.0004,
    guard_seconds=0.001,
    return_seconds=0.0,
)
VARIED = replace(STEADY, forward_variation=0.05, backward_variation=0.05)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("stages", "microbatches"), [(2, 2), (4, 4), (4, 16), (8, 8)])
def test_every_schedule_does_all_work_once_and_never_waits_for_itself(name, stages, microbatches):
    schedule = SCHEDULES[name](stages, microbatches)
    sequence = [task for _, task in topological_order(schedule)]
    assert len(sequence) == len(set(sequence)) == sum(map(len, schedule.orders))
    per_place = 3 if name == "zero-bubble" else 2
    assert len(sequence) == per_place * microbatches * schedule.places
    assert all(task.place % stages == stage for stage, order in enumerate(schedule.orders) for task in order)


@pytest.mark.parametrize(("stages", "microbatches"), [(4, 4), (4, 16), (8, 8)])
def test_bubbles_of_steady_tasks_are_those_of_the_theory(stages, microbatches):
    def share(name):
        return Simulation(SCHEDULES[name](stages, microbatches), Cluster(), STEADY).run(1, 1).bubble_share

    assert share("1f1b") == pytest.approx(bubble_share(stages, microbatches))
    assert share("interleaved-2") == pytest.approx(bubble_share(stages, 2 * microbatches))
    # (p - 1) (F + I - W) with three tasks of the same length; the greedy order loses a little.
    least = (stages - 1) / (3 * microbatches + stages - 1)
    assert least - 1e-9 <= share("zero-bubble") < 0.7 * share("1f1b")


def test_zero_bubble_stages_hold_no_more_activations_than_under_1f1b():
    schedule = SCHEDULES["zero-bubble"](4, 12)
    for stage, order in enumerate(schedule.orders):
        held = 0
        for task in order:
            held += (task.kind is Kind.FORWARD) - (task.kind is Kind.INPUT_GRADIENT)
            assert held <= 4 - stage


def test_interleaving_needs_a_multiple_of_the_stages():
    with pytest.raises(ValueError, match="multiple of 4"):
        interleaved_schedule(4, 6)


def test_steady_bubbles_are_filled_up_to_the_guard_without_slowing_the_run():
    outcome = Simulation(SCHEDULES["1f1b"](4, 4), Cluster(), STEADY).run(5, 5)
    assert outcome.slowdown == 0.0
    assert 0.8 * outcome.bubble_share < outcome.recovered_share < outcome.bubble_share


def test_what_trials_cost_their_stage_slows_the_run_and_a_guard_longer_than_every_bubble_keeps_them_out():
    def outcome(guard_seconds):
        calibration = replace(VARIED, guard_seconds=guard_seconds, return_seconds=0.005)
        return Simulation(SCHEDULES["1f1b"](4, 8), Cluster(8), calibration).run(20, 10)

    assert outcome(0.001).slowdown > 0.005
    assert (outcome(1.0).slowdown, outcome(1.0).recovered_share) == (0.0, 0.0)


def test_the_same_seed_gives_the_same_figures():
    runs = [Simulation(SCHEDULES["1f1b"](4, 4), Cluster(2, 2), VARIED, seed=3).run(5, 3) for _ in range(2)]
    assert runs[0] == runs[1]
