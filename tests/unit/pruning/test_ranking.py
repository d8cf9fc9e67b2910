"""A ranking keeps its entries in order, and finds them; so decisions read few of them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner
from hydro.coordinator.pruning.ranking import Ranking
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    MedianPruning,
    PercentilePruning,
    SuccessiveHalvingPruning,
)
from hydro.coordinator.study import Goal

entries = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 50)), unique=True)


@given(entries, st.data())
def test_ranks_are_positions_in_the_sorted_list(added, data):
    removed = data.draw(st.lists(st.sampled_from(added), unique=True)) if added else []
    ranking = Ranking()
    for entry in added:
        ranking.add(entry)
    for entry in removed + removed:
        ranking.remove(entry)
    kept = sorted(set(added) - set(removed))
    assert [ranking[rank] for rank in range(len(ranking))] == kept
    assert [ranking.rank(entry) for entry in kept] == list(range(len(kept)))


class Counted(float):
    """A value that counts how often one is compared with another, however the rules turn its sign."""

    comparisons = 0

    def __lt__(self, other):
        Counted.comparisons += 1
        return float(self) < float(other)

    def __le__(self, other):
        Counted.comparisons += 1
        return float(self) <= float(other)

    def __gt__(self, other):
        Counted.comparisons += 1
        return float(self) > float(other)

    def __eq__(self, other):
        Counted.comparisons += 1
        return float(self) == float(other)

    __hash__ = float.__hash__

    def __rmul__(self, sign):
        return Counted(sign * float(self))


RULES = {
    "asha": AshaPruning(1, 2),
    "hyperband": HyperbandPruning(1, 2),
    "successive halving": SuccessiveHalvingPruning(1, 2),
    "median": MedianPruning(1),
    "percentile": PercentilePruning(25, 1),
}


NEW = 6
"""Of which each bracket of Hyperband has one or more."""


def comparisons_of_decisions(rule, trials):
    """Of new trials at a step where so many were measured."""
    standing = Standing.PAUSED if isinstance(rule, (AshaPruning, HyperbandPruning)) else Standing.SUCCEEDED
    costs = [Counted(cost) for cost in range(trials)]
    Random(0).shuffle(costs)
    history = [MeasuredTrial(number, standing, ((1, cost),)) for number, cost in enumerate(costs)]
    pruner = build_pruner(rule, Goal.MINIMIZE, 4, history)
    before = Counted.comparisons
    pruner.decide([Report(10_000 + new, 1, Counted(trials * (new + 0.5) / NEW)) for new in range(NEW)])
    return Counted.comparisons - before


@pytest.mark.parametrize("rule", RULES)
def test_a_decision_reads_a_few_of_the_trials_at_its_rung(rule):
    few, many = (comparisons_of_decisions(RULES[rule], trials) for trials in (100, 3_000))
    # Of thirty times as many trials less than twice the logarithm; a scan would be 3,000 comparisons for each.
    assert 0 < many < 2 * few + 8 and many < 3_000
