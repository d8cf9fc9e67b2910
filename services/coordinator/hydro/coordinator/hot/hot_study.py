"""A study that its callers drive, in its owner's memory: every decision, and what a commit has to store of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from hydro.coordinator.asking import trial_seed
from hydro.coordinator.history import known, prior_known_trial
from hydro.coordinator.hot.open_trial import OpenTrial, no_measurement_any_more, should_stop, should_stop_again
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.judgement import fault_of
from hydro.coordinator.known_points import point_hyperparameters, waiting_points
from hydro.coordinator.names import StudyName
from hydro.coordinator.objectives import (
    Rank,
    is_plain,
    missing_metrics,
    rank_of,
    result_of,
    stored_result,
    violations_of,
)
from hydro.coordinator.pruners import standing_of
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report
from hydro.coordinator.pruning.pruning_rule import build_pruner
from hydro.coordinator.search.prefetch import Suggestion
from hydro.coordinator.search.search_backend import KnownTrial
from hydro.coordinator.storage.driven_storage import ClaimedStudy, DrivenTrial, StudyChanges, TrialChange
from hydro.coordinator.storage.trial_values import Measured
from hydro.coordinator.study import StudyState
from hydro.coordinator.trial import (
    SUCCEED_TRIAL,
    Hyperparameters,
    Measurement,
    Result,
    Trial,
    TrialKind,
    TrialState,
    Verdict,
)
from hydro.kit.errors import FieldViolation, InvalidArgument


class HotStudy:
    """Decides for one study. What it changes, it adds to the `StudyChanges` that it is given.

    It is right once those are stored. When they are not, it is `closed`, and read again from the database.
    """

    def __init__(self, claimed: ClaimedStudy) -> None:
        self.study = claimed.study
        self.epoch = claimed.epoch
        self.closed = False
        self.asking = asyncio.Lock()
        """Held by the one call that asks the search for trials."""
        # The term of its owner's membership in which it was last known to be its own.
        self.term: int | None = None
        self.next_trial = claimed.study.next_trial
        self._trials: dict[int, OpenTrial] = {}
        self._known: dict[int, KnownTrial] = {}
        self._requests: dict[str, list[int]] = {}
        self._running = 0
        self._waiting: list[int] = []
        """The trials whose caller was lost: for the next ones."""
        best = claimed.study.best_trial
        self._best = None if best is None else best.number
        self._best_rank: Rank | None = None
        self._waiting_points: list[int] = []
        self.noted_ends: list[int] = []
        """The trials whose end some suggestion is known to have known, in that order."""
        self._restore(claimed)

    @property
    def name(self) -> StudyName:
        """The study's."""
        return self.study.name

    def changes(self) -> StudyChanges:
        """An empty set of changes."""
        return StudyChanges(self.name, self.epoch, self.next_trial, self._best)

    @property
    def room(self) -> int:
        """How many more trials the study may have now."""
        if self.study.state is not StudyState.SEARCHING:
            return 0
        spec = self.study.spec
        return max(0, min(spec.max_trials - self.next_trial, spec.parallelism - self._running))

    @property
    def is_done(self) -> bool:
        """Whether all its trials were made and have ended."""
        return self._running == 0 and not self._waiting and self.next_trial >= self.study.spec.max_trials

    def known_trials(self) -> Iterable[KnownTrial]:
        """The trials as the search sees them, in the order of their numbers."""
        return self._known.values()

    def known_trial(self, number: int) -> KnownTrial:
        """One trial as the search sees it."""
        return self._known[number]

    def answered(self, request_id: str) -> Sequence[int] | None:
        """The trials that the request was given before; None: there was no such request."""
        return self._requests.get(request_id) if request_id else None

    @property
    def has_lost_trials(self) -> bool:
        """Whether trials wait for another caller."""
        return bool(self._waiting)

    def give_again(self, count: int, request_id: str, changes: StudyChanges) -> list[int]:
        """Gives trials whose caller was lost to another one, at most so many; gives their numbers."""
        spec = self.study.spec
        room = spec.parallelism - self._running if self.study.state is StudyState.SEARCHING else 0
        numbers = self._waiting[: max(0, min(count, room))]
        del self._waiting[: len(numbers)]
        for number in numbers:
            trial = self._trials[number]
            trial.state = TrialState.RUNNING
            trial.started = replace(trial.started, request_id=request_id)
            self._change(trial, changes, request_id)
        self._running += len(numbers)
        self._answer(request_id, numbers)
        return numbers

    def next_points(self, count: int) -> Mapping[int, Hyperparameters]:
        """Known points by index, at most so many: what the next trials have to have."""
        spec = self.study.spec
        return {
            index: point_hyperparameters(spec.search_space, spec.known_points[index], spec.seed, number)
            for number, index in enumerate(self._waiting_points[:count], self.next_trial)
        }

    def start(
        self,
        suggestions: Sequence[Suggestion],
        request_id: str,
        changes: StudyChanges,
        points: Mapping[int, Hyperparameters] | None = None,
    ) -> list[int]:
        """Starts trials with the points and then with what is suggested, and gives their numbers."""
        numbers = []
        indices = list(points or ())
        made = [
            *((each, index, None) for index, each in (points or {}).items()),
            *((each.hyperparameters, None, each.searched) for each in suggestions),
        ]
        for hyperparameters, known_point, searched in made:
            number = self.next_trial
            seed = trial_seed(self.study.spec.seed, number)
            started = DrivenTrial(number, hyperparameters, seed, request_id, known_point, searched)
            self._trials[number] = OpenTrial(started)
            self._note(self._trials[number])
            self._note_search(started)
            changes.started.append(started)
            numbers.append(number)
            self.next_trial += 1
        self._waiting_points = [each for each in self._waiting_points if each not in indices]
        self._running += len(numbers)
        changes.next_trial = self.next_trial
        self._answer(request_id, numbers)
        return numbers

    def open(self, number: int) -> OpenTrial | None:
        """A trial that callers know and that is in memory; of others the database knows all."""
        trial = self._trials.get(number)
        return None if trial is None or trial.create_time is None else trial

    def measure(self, trial: OpenTrial, measurement: Measurement, changes: StudyChanges) -> bool:
        """Takes a measurement, and gives whether the trial should end.

        Raises:
            AlreadyExists: VALUE_CONFLICT, when another measurement of the step stands.
            FailedPrecondition: WRONG_STATE, when the trial has ended.
        """
        number = trial.started.number
        stands = trial.measured.get(measurement.step)
        if stands is not None:
            return should_stop_again(self.name, stands, measurement, trial.lost_runs)
        if trial.state is not TrialState.RUNNING:
            raise no_measurement_any_more(self.name, number, trial.state)
        fault = fault_of(self.study, measurement)
        if fault:
            measured = Measured(number, measurement, None, Verdict.STOP)
            self._end(trial, TrialState.FAILED, fault)
        else:
            value = measurement.metrics[self.study.spec.objective.metric]
            report = Report(number, measurement.step, value, measurement.elapsed_seconds or 0.0)
            (verdict,) = self._pruner.decide([report])
            measured = Measured(number, measurement, value, verdict)
            if trial.steps <= measurement.step:
                trial.value = value
        trial.steps = max(trial.steps, measurement.step)
        trial.measured[measurement.step] = measured
        changes.measured.append(measured)
        self._change(trial, changes)
        return should_stop(measured)

    def complete(self, trial: OpenTrial, outcome: Outcome, changes: StudyChanges) -> None:
        """Ends a trial; the same outcome again is fine.

        Raises:
            FailedPrecondition: WRONG_STATE, when it has ended otherwise.
        """
        number = trial.started.number
        if trial.state.has_ended:
            outcome.check(self.name.trial(number), trial.state, trial.value, trial.result)
            return
        if not SUCCEED_TRIAL.allows(trial.state):
            raise SUCCEED_TRIAL.refusal(self.name.trial(number), trial.state)
        if outcome.state is TrialState.SUCCEEDED and outcome.value is not None:
            self._succeed(trial, outcome.value, outcome.metrics)
            changes.best_trial = self._best
        elif outcome.state is TrialState.PRUNED and self.study.spec.constraints:
            trial.result = Result((), violations_of(self.study.spec, trial.last_metrics))
        self._end(trial, outcome.state, outcome.reason)
        self._change(trial, changes)

    def settle(self, changes: StudyChanges, revision: int, time: datetime) -> None:
        """Notes that the changes are stored."""
        for started in changes.started:
            trial = self._trials[started.number]
            trial.create_time, trial.given_time, trial.revision = time, time, revision
        for number, change in changes.changed.items():
            trial = self._trials[number]
            trial.revision = revision
            if change.request_id is not None:
                trial.given_time = time
            if change.state.has_ended:
                trial.end_time = time
                # From now on the database answers for it.
                del self._trials[number]

    def trial(self, trial: OpenTrial) -> Trial:
        """The trial as it is stored, once its changes are."""
        started = trial.started
        assert trial.create_time is not None  # its commit is done
        return Trial(
            name=self.name.trial(started.number),
            kind=TrialKind.SEARCH,
            state=trial.state,
            hyperparameters=started.hyperparameters,
            seed=started.seed,
            create_time=trial.create_time,
            revision=trial.revision,
            state_reason=trial.state_reason,
            measurements=tuple(trial.measured[step].measurement for step in sorted(trial.measured)),
            value=trial.value,
            steps=trial.steps,
            end_time=trial.end_time,
            known_point=started.known_point,
            searched=started.searched,
            result=trial.result,
            failures=trial.lost_runs,
            retries=trial.retries,
        )

    def _answer(self, request_id: str, numbers: Sequence[int]) -> None:
        if request_id and numbers:
            self._requests.setdefault(request_id, []).extend(numbers)

    def _succeed(self, trial: OpenTrial, value: float, told: Mapping[str, float]) -> None:
        spec, number = self.study.spec, trial.started.number
        if told.get(spec.objective.metric, value) != value:
            field = f"metrics[{spec.objective.metric!r}]"
            raise InvalidArgument.of([FieldViolation(field, f"is not the value {value}: give the objective once")])
        metrics = {**trial.last_metrics, **told, spec.objective.metric: value}
        missing = missing_metrics(spec, metrics)
        if missing:
            advice = "is missing: tell it with the objective, or in the last measurement"
            raise InvalidArgument.of([FieldViolation(f"metrics[{name!r}]", advice) for name in missing])
        result = result_of(spec, metrics)
        trial.value = value
        trial.result = None if is_plain(spec) and not told else result
        rank = rank_of(spec.goals, result)
        if self._best_rank is None or rank < self._best_rank:
            self._best, self._best_rank = number, rank

    def _end(self, trial: OpenTrial, state: TrialState, reason: str) -> None:
        trial.state, trial.state_reason = state, reason
        self._pruner.end(trial.started.number, succeeded=state is TrialState.SUCCEEDED)
        self._running -= 1

    def _change(self, trial: OpenTrial, changes: StudyChanges, request_id: str | None = None) -> None:
        number = trial.started.number
        if request_id is None and number in changes.changed:
            # Given to its caller in the same commit.
            request_id = changes.changed[number].request_id
        changes.changed[number] = TrialChange(
            number, trial.state, trial.state_reason, trial.value, trial.steps, trial.result, request_id
        )
        self._note(trial)

    def _note(self, trial: OpenTrial) -> None:
        number, hyperparameters = trial.started.number, trial.started.hyperparameters
        self._known[number] = known(number, hyperparameters, trial.state, trial.value, trial.steps, trial.result)

    def _note_search(self, started: DrivenTrial) -> None:
        if started.searched is not None:
            self.noted_ends += started.searched.ended

    def _restore(self, claimed: ClaimedStudy) -> None:
        spec = claimed.study.spec
        history = [
            MeasuredTrial(each.started.number, standing_of(each.state), each.measured, each.seconds)
            for each in claimed.trials
        ]
        # Who drives a trial does not wait for its promotion.
        self._pruner = build_pruner(spec.pruning, spec.objective.goal, spec.max_steps, history, pauses=False)
        for prior in claimed.prior_trials:
            self._known[prior.number] = prior_known_trial(prior)
        used = (each.started.known_point for each in claimed.trials)
        self._waiting_points = waiting_points(spec, (each for each in used if each is not None))
        for each in claimed.trials:
            trial = OpenTrial.restored(each)
            self._note_search(each.started)
            if each.state is not TrialState.PENDING:
                # Who was lost must not be given its trial by asking once more: the request is as one that never was.
                self._answer(each.started.request_id, [each.started.number])
            if each.started.number == self._best:
                self._best_rank = rank_of(spec.goals, stored_result(spec, each.value, each.result))
            if not each.state.has_ended:
                self._trials[each.started.number] = trial
            if each.state is TrialState.PENDING:
                self._waiting.append(each.started.number)
            self._note(trial)
        self._running = len(self._trials) - len(self._waiting)
        for stands in claimed.standing:
            self._trials[stands.number].measured[stands.measurement.step] = stands
