"""A study's trials as Optuna's, kept between asks; of a long study only as many as an ask needs.

TPE splits the trials into the best (a tenth, 25 at the most) and the rest, and fits a density to each. The cost of an
ask grows with the rest, what it learns from it does not: beyond `MOST_TRIALS`, the density of the rest is fitted to a
part of it. The best ones are exactly those that Optuna would take from all trials. Of the rest there are the newest,
which count most with Optuna too, and older ones at even distances.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hydro.coordinator.search.optuna_codec import Codec, codec_of
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Goal

MOST_TRIALS = 400
"""Ended trials that one ask looks at. A study with so many or fewer gets exactly Optuna's answers."""
BEST_TRIALS = 25
"""The most that Optuna's TPE counts among the best."""
MOST_BEST = 100
"""With several objectives, of the trials that no other one dominates."""

_STATES = {
    Outcome.OPEN: TrialState.RUNNING,
    Outcome.SUCCEEDED: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}

_DIRECTIONS = {Goal.MINIMIZE: StudyDirection.MINIMIZE, Goal.MAXIMIZE: StudyDirection.MAXIMIZE}

_NO_TIME = datetime(2000, 1, 1)
"""Optuna wants to know when a trial ran; no sampler looks at it."""

# (beyond the constraints, 0, objectives, number) of a trial trained to the end, (beyond the constraints, 1, -steps,
# objective, number) of a pruned one: best first, as Optuna orders them. Objectives have the sign of minimization.
Rank = tuple[float, ...]


class _SharedTrial(FrozenTrial):
    """A trial that storages need not copy: nothing changes what is told of an ended trial."""

    def __deepcopy__(self, memo: object) -> _SharedTrial:
        return self


class OptunaHistory:
    """What is known of a study's trials. A trial that is learned again replaces what was known of it."""

    def __init__(self, space: SearchSpace, goal: Goal, further_goals: tuple[Goal, ...] = ()) -> None:
        self.space = space
        self.goals = (goal, *further_goals)
        self.codecs: Mapping[str, Codec] = {
            each.name: codec for each in space.parameters if (codec := codec_of(each)) is not None
        }
        self._domains = {each.name: each.domain for each in space.parameters}
        self._trials: dict[int, FrozenTrial] = {}
        self._open: set[int] = set()
        self._ended: list[int] = []
        self._ranks: list[Rank] = []
        self._rank_of: dict[int, Rank] = {}

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials, in any order. Cost: the logarithm of the study's length for each."""
        for known in trials:
            self._forget(known.number)
            outcome = _usable_outcome(known, len(self.goals))
            if outcome is Outcome.FAILED:
                # Nothing is learned from it, not even that it was tried.
                continue
            self._trials[known.number] = self._frozen(known, outcome)
            if outcome is Outcome.OPEN:
                self._open.add(known.number)
                continue
            insort(self._ended, known.number)
            rank = self._rank(known, outcome)
            self._rank_of[known.number] = rank
            insort(self._ranks, rank)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self._forget(number)

    def add_to(self, study: optuna.Study, number: int) -> None:
        """Adds a trial that was learned to a study that was made before."""
        if number in self._trials:
            _add(study, self._trials[number])

    def chosen(self) -> list[FrozenTrial]:
        """The trials that an ask looks at, in the order of their numbers."""
        numbers = self._ended if len(self._ended) <= MOST_TRIALS else self._part()
        return [self._trials[number] for number in sorted([*numbers, *self._open])]

    def ended(self) -> list[FrozenTrial]:
        """The trials that were trained to the end or pruned, in the order of their numbers."""
        return [self._trials[number] for number in self._ended]

    def study(self) -> optuna.Study:
        """A study in memory with the chosen trials."""
        study = self.empty_study()
        for trial in self.chosen():
            _add(study, trial)
        return study

    def empty_study(self) -> optuna.Study:
        """A study in memory without trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        directions = [_DIRECTIONS[goal] for goal in self.goals]
        return optuna.create_study(storage=optuna.storages.InMemoryStorage(), directions=directions)

    def _part(self) -> list[int]:
        best = {int(rank[-1]) for rank in self._best()}
        newest = self._ended[-MOST_TRIALS // 2 :]
        older = self._ended[: -MOST_TRIALS // 2]
        wanted = MOST_TRIALS - len(newest) - len(best)
        # At even distances of their places among the older ones, the first and the last of them included.
        places = [place * (len(older) - 1) // (wanted - 1) for place in range(wanted)]
        return sorted(best.union(newest, (older[place] for place in places)))

    def _best(self) -> list[Rank]:
        """As many as Optuna counts among the best, whichever of the further objectives it looks at."""
        if len(self.goals) == 1:
            return self._ranks[:BEST_TRIALS]
        # The dominated ones go, front by front, until enough are left; of too large a front, those at even distances.
        rest = [rank for rank in self._ranks if rank[:2] == self._ranks[0][:2]]
        best: list[Rank] = []
        while rest and len(best) < BEST_TRIALS:
            front = _front(rest)
            best += front
            taken = set(front)
            rest = [rank for rank in rest if rank not in taken]
        return [best[index * len(best) // MOST_BEST] for index in range(MOST_BEST)] if len(best) > MOST_BEST else best

    def _forget(self, number: int) -> None:
        self._trials.pop(number, None)
        self._open.discard(number)
        rank = self._rank_of.pop(number, None)
        if rank is not None:
            del self._ended[bisect_left(self._ended, number)]
            del self._ranks[bisect_left(self._ranks, rank)]

    def _rank(self, known: KnownTrial, outcome: Outcome) -> Rank:
        value, *further = (
            each if goal is Goal.MINIMIZE else -each
            for goal, each in zip(self.goals, (_number(known.value), *known.further_values), strict=False)
        )
        beyond = sum(max(0.0, each) for each in known.violations.values())
        if outcome is Outcome.SUCCEEDED:
            return (beyond, 0, value, *further, known.number)
        return (beyond, 1, -known.steps, value, known.number)

    def _course(self, known: KnownTrial) -> dict[int, float]:
        # With several objectives Optuna has no order of pruned trials: its TPE fails where one has a value.
        return {} if known.value is None or len(self.goals) > 1 else {known.steps: known.value}

    def _frozen(self, known: KnownTrial, outcome: Outcome) -> FrozenTrial:
        searched = {
            name: value
            for name, value in known.hyperparameters.items()
            if name in self.codecs and self._domains[name].contains(value)
        }
        frozen = _SharedTrial(
            number=known.number,
            trial_id=-1,
            state=_STATES[outcome],
            value=None,
            values=[_number(known.value), *known.further_values] if outcome is Outcome.SUCCEEDED else None,
            datetime_start=_NO_TIME,
            datetime_complete=None if outcome is Outcome.OPEN else _NO_TIME,
            params={name: self.codecs[name].encode(value) for name, value in searched.items()},
            distributions={name: self.codecs[name].distribution for name in searched},
            user_attrs={},
            system_attrs={},
            intermediate_values=self._course(known),
        )
        if outcome is not Outcome.OPEN:
            for name, violation in known.violations.items():
                frozen.set_constraint(name, violation)
        return frozen


def _add(study: optuna.Study, trial: FrozenTrial) -> None:
    # Not `add_trial`, which checks each trial anew.
    study._storage.create_new_trial(study._study_id, template_trial=trial)


def _front(ranks: Sequence[Rank]) -> list[Rank]:
    """Those, of ranks in order, whose objectives no other one's dominate."""
    found: list[Rank] = []
    for rank in ranks:
        if not any(all(a <= b for a, b in zip(other[2:-1], rank[2:-1], strict=True)) for other in found):
            found.append(rank)
    return found


def _usable_outcome(known: KnownTrial, objectives: int) -> Outcome:
    """A pruned trial that was never measured teaches as little as a failed one."""
    if known.outcome is Outcome.OPEN:
        return Outcome.OPEN
    if known.value is None or (known.outcome is Outcome.SUCCEEDED and len(known.further_values) != objectives - 1):
        return Outcome.FAILED
    return known.outcome


def _number(value: float | None) -> float:
    assert value is not None  # a usable outcome that is not open has one
    return value
