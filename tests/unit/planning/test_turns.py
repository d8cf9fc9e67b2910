"""Programs that take turns."""

import pytest

from hydro.tuner.planning.turns import WARM_UP_ROUNDS, Patience, seconds_in_turns


class Machine:
    """A clock that work moves, on a machine that is slow in some rounds."""

    def __init__(self, slow_rounds: set[int]) -> None:
        self.now, self.log, self._slow = 0.0, [], slow_rounds

    def work(self, name: str, seconds: float):
        def run() -> None:
            this_round = self.log.count(name)
            self.log.append(name)
            self.now += seconds * (3.0 if this_round in self._slow else 1.0)

        return run


def test_a_busy_spell_changes_nothing():
    machine = Machine(slow_rounds={WARM_UP_ROUNDS + 1, WARM_UP_ROUNDS + 4})
    works = [machine.work("fused", 0.5), machine.work("separate", 0.25)]
    assert seconds_in_turns(works, lambda: machine.now, Patience(60.0, 8, 8)) == [0.5, 0.25]


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_of_few_rounds_the_shortest_time_counts_and_none_that_was_not_measured(rounds):
    machine = Machine(slow_rounds={WARM_UP_ROUNDS} if rounds > 1 else set())
    assert seconds_in_turns([machine.work("a", 0.5)], lambda: machine.now, Patience(60.0, rounds, rounds)) == [0.5]


def test_each_round_runs_every_work_once():
    machine = Machine(set())
    works = [machine.work("a", 0.1), machine.work("b", 0.1)]
    seconds_in_turns(works, lambda: machine.now, Patience(60.0, 3, 3))
    assert machine.log == ["a", "b"] * (WARM_UP_ROUNDS + 3)


def test_patience_ends_with_its_seconds_but_not_before_the_least_rounds():
    machine = Machine(set())
    seconds_in_turns([machine.work("a", 0.1)], lambda: machine.now, Patience(0.0, 4, 100))
    assert len(machine.log) == WARM_UP_ROUNDS + 4
