"""A study that its callers drive, in its owner's memory: every decision, and what a commit has to store of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hydro.coordinator.asking import trial_seed
from hydro.coordinator.history import known, prior_known_trial
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
from hydro.kit.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument


@dataclass(slots=True)
class OpenTrial:
    """A trial that runs, or has ended in a commit that is not done yet."""

    started: DrivenTrial
    create_time: datetime | None = None
    """None until the commit that starts it is done: nobody knows the trial before."""
    state: TrialState = TrialState.RUNNING
    state_reason: str = ""
    value: float | None = None
    steps: int = 0
    measured: dict[int, Measured] = field(default_factory=dict)
    end_time: datetime | None = None
    revision: int = 0
    result: Result | None = None

    @property
    def last_metrics(self) -> Mapping[str, float]:
        """Those of its last measurement."""
        return self.measured[max(self.measured)].measurement.metrics if self.measured else {}


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
        return self._running == 0 and self.next_trial >= self.study.spec.max_trials

    def known_trials(self) -> Iterable[KnownTrial]:
        """The trials as the search sees them, in the order of their numbers."""
        return self._known.values()

    def known_trial(self, number: int) -> KnownTrial:
        """One trial as the search sees it."""
        return self._known[number]

    def answered(self, request_id: str) -> Sequence[int] | None:
        """The trials that the request was given before; None: there was no such request."""
        return self._requests.get(request_id) if request_id else None

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
        if request_id:
            self._requests[request_id] = numbers
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
            return should_stop_again(self.name, stands, measurement)
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
        return measured.verdict is not Verdict.CONTINUE

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
            trial.create_time, trial.revision = time, revision
        for number, change in changes.changed.items():
            trial = self._trials[number]
            trial.revision = revision
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
        )

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

    def _change(self, trial: OpenTrial, changes: StudyChanges) -> None:
        number = trial.started.number
        changes.changed[number] = TrialChange(
            number, trial.state, trial.state_reason, trial.value, trial.steps, trial.result
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
            trial = OpenTrial(
                each.started,
                each.create_time,
                each.state,
                value=each.value,
                steps=each.steps,
                revision=each.revision,
                result=each.result,
            )
            self._note_search(each.started)
            if each.started.request_id:
                self._requests.setdefault(each.started.request_id, []).append(each.started.number)
            if each.started.number == self._best:
                self._best_rank = rank_of(spec.goals, stored_result(spec, each.value, each.result))
            if each.state is TrialState.RUNNING:
                self._trials[each.started.number] = trial
            self._note(trial)
        self._running = len(self._trials)
        for stands in claimed.standing:
            self._trials[stands.number].measured[stands.measurement.step] = stands


def should_stop_again(study: StudyName, stands: Measured, measurement: Measurement) -> bool:
    """The answer to a measurement that stands already. Raises AlreadyExists when another one does."""
    first = stands.measurement.metrics
    # repr, because NaN is not equal to itself.
    if repr(sorted(first.items())) != repr(sorted(measurement.metrics.items())):
        raise AlreadyExists(
            f"{study.trial(stands.number)} has other metrics at step {measurement.step}, and the first ones stand: "
            f"{dict(first)}",
            reason="VALUE_CONFLICT",
        )
    return stands.verdict is not Verdict.CONTINUE


def no_measurement_any_more(study: StudyName, number: int, state: TrialState) -> FailedPrecondition:
    """The error for a measurement of a trial that does not run."""
    return FailedPrecondition(f"{study.trial(number)} is {state.name}: it takes no measurement any more")
