"""A loop that trains a study's trials in this process: Study.optimize."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import StudyName
from hydro.client.snapshots import StudySettings, TrialState
from hydro.client.telling import Told, mean_metrics, metrics_of
from hydro.client.trials import Trial, TrialPruned
from hydro.kit.errors import FailedPrecondition, FieldViolation, HydroError, InvalidArgument, Unavailable

ObjectiveFunction = Callable[[Trial], Told]
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
        return Trial(suggested[0], self._settings.objectives, self._coordinator) if suggested else None

    def may_give_more(self) -> bool:
        """Whether the study may give one later: others hold all that may be open at once."""
        try:
            snapshot = self._coordinator.get_study(self._name)
        except Unavailable:
            # The services may be restarting: the next ask waits for them, or says so.
            return True
        given = sum(snapshot.statistics.trials_by_state.values())
        return not snapshot.state.has_ended and given < self._settings.max_trials

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
            self._run(trial)
            for callback in self._callbacks:
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
            if isinstance(error, FailedPrecondition) and _is_cancelled(trial):
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
    except FailedPrecondition:
        if not _is_cancelled(trial):
            raise


def _is_cancelled(trial: Trial) -> bool:
    """Whether the study ended meanwhile, and its open trials with it."""
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
