"""A loop that trains a study's trials in this process: Study.optimize."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import structlog

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import StudyName
from hydro.client.snapshots import StudySettings, StudyState, TrialState
from hydro.client.telling import Told, mean_metrics, metrics_of
from hydro.client.trials import Trial, TrialPruned
from hydro.kit.errors import (
    FailedPrecondition,
    FieldViolation,
    HydroError,
    InvalidArgument,
    OutOfRange,
    Unavailable,
)

ObjectiveFunction = Callable[[Trial], Told]
_log = structlog.get_logger()
_FULL_SECONDS = 0.5
_REASON_CHARACTERS = 8_000


class StudyTrials:
    """The trials that a study gives to who drives it."""

    def __init__(self, name: StudyName, settings: StudySettings, coordinator: CoordinatorCalls) -> None:
        self._name = name
        self._settings = settings
        self._coordinator = coordinator

    def suggest(self) -> Trial | None:
        """A new trial. None: the study gives none now."""
        suggested = self._coordinator.suggest_trials(self._name, 1)
        if not suggested:
            return None
        (snapshot,) = suggested
        if self._settings.trial_timeout_seconds:
            run = snapshot.name, snapshot.lost_runs
            self._coordinator.renewals.keep(run, self._settings.trial_timeout_seconds)
        return Trial(snapshot, self._settings.objectives, self._coordinator)

    def ask(self) -> Trial:
        """A new trial.

        Raises:
            OutOfRange: all were given, as many are open as may be, or the search has come to its end.
            FailedPrecondition: the study is paused, was cancelled or has failed, or trains its trials itself.
        """
        trial = self.suggest()
        if trial is not None:
            return trial
        state = self._coordinator.get_study(self._name).state
        if state is StudyState.SUCCEEDED:
            raise OutOfRange(f"{self._name} has come to its end and gives no further trial")
        if state is StudyState.SEARCHING:
            raise OutOfRange(
                f"{self._name} gives no further trial now: it has {self._settings.max_trials} in all, and "
                f"{self._settings.parallelism} may be open at once; tell the open ones first"
            )
        advice = "resume it first" if state is StudyState.PAUSED else "create another study for more"
        raise FailedPrecondition(f"{self._name} is {state.name} and gives no trial: {advice}")

    def may_give_more(self) -> bool:
        """Whether the study may give one later: others hold all that may be open at once, or one that they may lose.

        What this process holds itself it does not lose while it asks.
        """
        try:
            snapshot = self._coordinator.get_study(self._name)
        except Unavailable:
            # The services may be restarting: the next ask waits for them, or says so.
            return True
        if snapshot.state.has_ended:
            return False
        by_state = snapshot.statistics.trials_by_state
        held = self._coordinator.renewals.count(self._name)
        is_others = sum(by_state.get(each.name, 0) for each in (TrialState.PENDING, TrialState.RUNNING)) > held
        may_come_back = is_others and self._settings.trial_timeout_seconds > 0
        return may_come_back or sum(by_state.values()) < self._settings.max_trials

    def drop(self, trial: Trial) -> None:
        """Nobody here trains the trial any more."""
        self._coordinator.renewals.drop(trial.run)

    def leave(self) -> None:
        """This thread asks for no trial any more."""
        self._coordinator.leave()


class OwnLoop:
    """Calls an objective function for one trial after the other, in one or several threads.

    Args:
        source: Gives the trials.
        objective: Trains one of them.
        trials: Most trials to run. None: as many as there are.
        repeats: Calls of the objective for each trial; the mean of what they give is told.
        catch: Exceptions of the objective that fail a trial and do not end the loop.
        callbacks: Called with each trial that has ended.
        sleep: Waits while other loops hold all trials that may be open at once.
    """

    def __init__(
        self,
        source: StudyTrials,
        objective: ObjectiveFunction,
        *,
        trials: int | None = None,
        repeats: int = 1,
        catch: tuple[type[Exception], ...] = (),
        callbacks: Sequence[Callable[[Trial], None]] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if repeats < 1:
            raise InvalidArgument.of([FieldViolation("repeats", f"is {repeats}: give 1 or more")])
        self._source = source
        self._objective = objective
        self._left = trials
        self._repeats = repeats
        self._catch = catch
        self._callbacks = callbacks
        self._sleep = sleep
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, jobs: int = 1) -> None:
        """Returns when the study gives no trial any more, or as many have run as were wanted.

        An exception of the objective that is not to be caught ends the loop, and so does Ctrl-C: other threads finish
        the trial that they have, then it is raised.
        """
        if jobs < 1:
            raise InvalidArgument.of([FieldViolation("jobs", f"is {jobs}: give 1 or more")])
        if jobs == 1:
            self._work()
            return
        with ThreadPoolExecutor(jobs, thread_name_prefix="hydro-trial") as pool:
            running = [pool.submit(self._job) for _ in range(jobs)]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()
        for each in running:
            each.result()

    def _job(self) -> None:
        try:
            self._work()
        finally:
            self._source.leave()

    def _work(self) -> None:
        while not self._stop.is_set() and self._take():
            trial = self._source.suggest()
            while trial is None and not self._stop.is_set() and self._source.may_give_more():
                # Other loops hold all trials that may be open at once.
                self._sleep(_FULL_SECONDS)
                trial = self._source.suggest()
            if trial is None:
                return
            try:
                self._run(trial)
            finally:
                self._source.drop(trial)
            # One that was given to another caller has not ended here.
            for callback in self._callbacks if trial.state.has_ended else ():
                callback(trial)

    def _take(self) -> bool:
        with self._lock:
            if self._left is None:
                return True
            self._left -= 1
            return self._left >= 0

    def _run(self, trial: Trial) -> None:
        try:
            metrics = self._metrics(trial)
        except TrialPruned:
            _end(trial, trial.prune)
        except BaseException as error:
            if isinstance(error, FailedPrecondition) and _is_gone(trial, error):
                return
            _fail(trial, error)
            if not isinstance(error, self._catch):
                raise
        else:
            _end(trial, lambda: _tell(trial, metrics))

    def _metrics(self, trial: Trial) -> Mapping[str, float]:
        repeats = []
        for repeat in range(self._repeats):
            trial.repeat = repeat
            repeats.append(metrics_of(self._objective(trial), trial.objectives))
        return mean_metrics(repeats, trial.objectives)


def _end(trial: Trial, end: Callable[[], None]) -> None:
    try:
        end()
    except FailedPrecondition as error:
        if not _is_gone(trial, error):
            raise


def _is_gone(trial: Trial, error: FailedPrecondition) -> bool:
    """Whether the study ended meanwhile, and its open trials with it, or the trial was given to another caller."""
    if error.reason == "LEASE_LOST":
        _log.warning("trial was given up", trial=str(trial.name), error=error.message)
        return True
    return trial.refresh().state is TrialState.CANCELLED


def _tell(trial: Trial, metrics: Mapping[str, float]) -> None:
    try:
        trial.tell(metrics)
    except InvalidArgument as error:
        _fail(trial, error)
        raise


def _fail(trial: Trial, error: BaseException) -> None:
    # What becomes of the trial must not hide why.
    with contextlib.suppress(HydroError):
        trial.fail(_reason(error))


def _reason(error: BaseException) -> str:
    """The error, and where it came from."""
    first = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    trace = "".join(traceback.format_exception(error))
    return f"{first}\n{trace[-_REASON_CHARACTERS:]}"
