"""Studies, as a user holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydro.client.callbacks import TrialCallback, follow_trials
from hydro.client.calls import CoordinatorCalls, TunerCalls
from hydro.client.names import StudyName
from hydro.client.objectives import Objective
from hydro.client.own_loop import ObjectiveFunction, OwnLoop, StudyTrials
from hydro.client.retuning import candidates, retuned_names
from hydro.client.snapshots import (
    StudyChange,
    StudySettings,
    StudySnapshot,
    StudyState,
    StudyStatistics,
)
from hydro.client.spaces import Scalar
from hydro.client.stored_trials import StoredTrials
from hydro.client.surrogates import Surrogate, Transfer
from hydro.client.target import Target
from hydro.client.target_checks import EagerTransfer, best_target, neighbours, safer, target_search, values_of_targets
from hydro.client.trials import Trial
from hydro.client.watching import watch
from hydro.kit.errors import DeadlineExceeded, FailedPrecondition, FieldViolation, InvalidArgument, NotFound

if TYPE_CHECKING:
    import optuna
    import pandas as pd


class Study(StoredTrials):
    """A search for the best hyperparameters of one task. Its properties are read from the coordinator each time."""

    def __init__(self, snapshot: StudySnapshot, coordinator: CoordinatorCalls, tuner: TunerCalls) -> None:
        super().__init__(snapshot.name, snapshot.settings, coordinator)
        self._tuner = tuner
        self._open_trials = StudyTrials(snapshot.name, snapshot.settings, coordinator)

    def __repr__(self) -> str:
        return f"<Study {self._name}>"

    @property
    def name(self) -> StudyName:
        """Its resource name."""
        return self._name

    @property
    def settings(self) -> StudySettings:
        """What its user chose."""
        return self._settings

    @property
    def objective(self) -> Objective:
        """What it optimizes, the first of several."""
        return self._settings.objective

    @property
    def state(self) -> StudyState:
        """Its state now."""
        return self.snapshot().state

    @property
    def statistics(self) -> StudyStatistics:
        """Counts over all search trials, now."""
        return self.snapshot().statistics

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know though the study goes on."""
        return self.snapshot().warnings

    @property
    def best_trial(self) -> Trial:
        """The best search trial so far.

        Raises:
            NotFound: no trial has been measured to the end.
        """
        best = self.snapshot().best_trial
        if best is None:
            raise NotFound(f"{self._name} has no best trial yet: no trial has been measured to the end")
        return Trial(self._coordinator.get_trial(best), self._settings.objectives, self._coordinator)

    @property
    def best_trials(self) -> list[Trial]:
        """The search trials that no other one is better than in every objective: with one objective, the best alone."""
        found = (self._coordinator.get_trial(each) for each in self.snapshot().best_trials)
        return [Trial(each, self._settings.objectives, self._coordinator) for each in found]

    @property
    def surrogate(self) -> Surrogate:
        """What the tuner made of the task, with its report.

        Raises:
            NotFound: there is none yet, the study tunes no task, or the tuner has been restarted since.
        """
        name = self.snapshot().surrogate
        if not name:
            raise NotFound(f"{self._name} has no surrogate: it is being built, or the study has no task")
        return self._tuner.get_surrogate(name)

    def snapshot(self) -> StudySnapshot:
        """Everything about it at this moment, as a value."""
        return self._coordinator.get_study(self._name)

    def changes(self, resume_token: str = "") -> Iterator[StudyChange]:
        """The current state, then every change, until it ends. Connections that break are taken up again.

        Args:
            resume_token: Of the last change that was seen, to have only what came after it, also days later and from
                another machine. One of another study of this name counts as none.
        """
        return watch(self._coordinator, self._name, resume_token)

    def wait(
        self,
        *,
        progress: bool = False,
        timeout_seconds: float | None = None,
        until: Callable[[StudySnapshot], bool] = lambda snapshot: False,
    ) -> StudySnapshot:
        """Waits for the study's end.

        Args:
            progress: Shows trials by state, the best so far, lanes, devices and the time left, while waiting.
            timeout_seconds: None waits for ever.
            until: Waits no longer once this holds of the study; looked at several times a second.

        Raises:
            DeadlineExceeded: it takes longer than the timeout. The study goes on.
            FailedPrecondition: the study failed; the message says why.
        """
        from hydro.client.progress import follow

        last = follow(
            self.changes(),
            self._coordinator,
            show=progress,
            timeout_seconds=timeout_seconds,
            is_over=lambda view: until(view.study),
        )
        if last is None:
            raise DeadlineExceeded(f"{self._name} has not ended after {timeout_seconds} s; it goes on")
        if last.state is StudyState.FAILED:
            raise FailedPrecondition(f"{self._name} failed: {last.state_reason}")
        return last

    def cancel(self) -> None:
        """Ends the study; its open trials become CANCELLED."""
        self._coordinator.cancel_study(self._name)

    def pause(self) -> None:
        """No trial starts any more; running ones keep their checkpoint.

        Raises:
            FailedPrecondition: it is neither SEARCHING nor PAUSED.
        """
        self._coordinator.pause_study(self._name)

    def resume(self) -> None:
        """Goes on after a pause.

        Raises:
            FailedPrecondition: it is neither SEARCHING nor PAUSED.
        """
        self._coordinator.resume_study(self._name)

    def delete(self) -> None:
        """Deletes the study and its trials.

        Raises:
            FailedPrecondition: it has not ended.
        """
        self._coordinator.delete_study(self._name)

    def train_target(
        self,
        hyperparameters: Mapping[str, Scalar] | None = None,
        *,
        target_hyperparameters: Mapping[str, Scalar] | None = None,
        defaults: bool = False,
        safety_octaves: float = 0.0,
        batch_ratio: float = 1.0,
        seed: int | None = None,
        wait: bool = True,
    ) -> Target:
        """Trains the target: full width, hyperparameters transferred from the surrogate's.

        Args:
            hyperparameters: As in the search space, before transfer. None: the best trial's.
            target_hyperparameters: More of them, or other values, for the target as they are: what does not transfer.
            defaults: Trains with the task's defaults instead, not transferred.
            safety_octaves: Lowers the learning rate by so many: 0.5 where `verify_target` diverges just above it.
            batch_ratio: Samples of its step, in all processes, over the surrogate's (`docs/parametrization.md`).
            seed: None: the study's.
            wait: Waits for the end of training; otherwise the target's results do.

        Raises:
            FailedPrecondition: there is no best trial yet, or the training failed.
        """
        found = hyperparameters or (self.best_trial.hyperparameters if safety_octaves and not defaults else {})
        found = safer(self._settings.search_space, found, safety_octaves, is_default=defaults)
        made = self._coordinator.train_target(self._name, found, target_hyperparameters, defaults, seed, batch_ratio)
        transfers = () if defaults else self._transfers()
        target = Target(Trial(made, self._settings.objectives, self._coordinator), transfers)
        if wait:
            target.wait()
        return target

    def verify_target(self, hyperparameter: str = "lr", *, seed: int | None = None) -> EagerTransfer:
        """Trains the target with the transferred best, and with its learning rate half an octave up and down.

        The last check of transfer, and the only one on the target itself: it costs three trainings of it, side by side
        where there are devices. Where a neighbour is better, the search may go on there: `search_target`.

        Args:
            hyperparameter: The learning rate's name.
            seed: None: the study's.

        Raises:
            InvalidArgument: it is no number above zero that was searched.
            NotFound: there is no best trial yet.
        """
        best = self.best_trial.hyperparameters
        wanted = neighbours(self._settings.search_space, best, hyperparameter)
        targets = {octaves: self.train_target(each, seed=seed, wait=False) for octaves, each in wanted.items()}
        return EagerTransfer(hyperparameter, self.objective, values_of_targets(targets))

    def search_target(
        self, trials: int = 8, *, hyperparameter: str = "lr", octaves: float = 1.0, study_id: str | None = None
    ) -> Study:
        """Searches on the target itself, around the surrogate's best: for when a check says that it does not transfer.

        Args:
            trials: Trainings of the target.
            hyperparameter: The learning rate's name; it is searched within `octaves` of the best.
            octaves: As above. What does not transfer is searched in all of its domain, all else keeps the best value.
            study_id: Of the new study. None: this one's with "-target".

        Raises:
            InvalidArgument: it is no number above zero that was searched.
            NotFound: there is no best trial yet.
            AlreadyExists: the id is taken.
        """
        best = self.best_trial.hyperparameters
        settings = target_search(self._settings, best, hyperparameter, octaves, trials)
        name = StudyName(self._name.project, study_id or f"{self._name.study[:56]}-target")
        return Study(self._coordinator.create_study(name, settings), self._coordinator, self._tuner)

    def retune_target(self, *, trials: int = 4, seed: int | None = None) -> Target:
        """Tunes on the target what does not transfer, all else as the surrogate's best trial has it.

        Trains the target with the task's defaults for it, then with values spread over its domains, and gives the best.

        Args:
            trials: How often the target is trained, at least 2.
            seed: Of the values. None: the study's.

        Raises:
            FailedPrecondition: everything in the search space transfers, or every training failed.
            InvalidArgument: fewer than 2 trials.
        """
        if trials < 2:
            raise InvalidArgument.of([FieldViolation("trials", f"is {trials}: give 2 or more, the first has defaults")])
        space = self._settings.search_space
        names = retuned_names(space, self.surrogate.transfers)
        if not names:
            raise FailedPrecondition(f"everything in the search space of {self._name} transfers: use train_target")
        drawn = candidates(space, names, trials, self._settings.seed if seed is None else seed)
        targets = [self.train_target(target_hyperparameters=each, wait=False) for each in drawn]
        return best_target(targets, self.objective.goal)

    def _transfers(self) -> tuple[Transfer, ...]:
        try:
            return self.surrogate.transfers
        except NotFound:
            # The tuner keeps no surrogates over a restart; the target trains all the same.
            return ()

    def ask(self) -> Trial:
        """A new trial, for a loop that trains it itself.

        Raises:
            OutOfRange: the study gives no further trial: all of them were given, `parallelism` of them are open, or its
                search has come to its end.
            FailedPrecondition: the study trains its trials itself, is paused, was cancelled or has failed.
        """
        return self._open_trials.ask()

    def enqueue(self, *points: Mapping[str, Scalar]) -> None:
        """Tries these hyperparameters next, each exactly once and in this order, before anything is suggested.

        Args:
            points: As in the search space. What one leaves out is drawn at random; a parameter of which another one
                depends must be given with it.

        Raises:
            InvalidArgument: names each value that no trial can have; or the study has fewer trials left.
            FailedPrecondition: the study has ended.
        """
        self._coordinator.enqueue_trials(self._name, points)

    def optimize(
        self,
        objective: ObjectiveFunction,
        *,
        trials: int | None = None,
        jobs: int = 1,
        repeats: int = 1,
        catch: tuple[type[Exception], ...] = (),
        callbacks: Sequence[TrialCallback] = (),
    ) -> None:
        """Calls `objective(trial)` for one trial after the other and tells what it returns.

        It returns the objective; a tuple of several in the study's order; or metrics by name. One that raises
        TrialPruned ends its trial as pruned; another exception fails the trial and, unless it is one of `catch`, ends
        the loop. Ctrl-C fails the trial that runs; the study goes on with the next call.

        Args:
            objective: Trains with `trial.hyperparameters`; may call `trial.report`.
            trials: Most trials to run. None: as many as the study has left.
            jobs: Threads that run a trial each.
            repeats: Calls for each trial, with `trial.repeat` and a `trial.seed` of its own; the mean is told.
            catch: Exceptions that fail their trial alone.
            callbacks: Called with the study and each trial that has ended, as those of `hydro.client.callbacks`.
        """
        OwnLoop(
            self._open_trials,
            objective,
            trials=trials,
            repeats=repeats,
            catch=catch,
            callbacks=[partial(_call, each, self) for each in callbacks],
        ).run(jobs)

    def log_to(self, *callbacks: TrialCallback) -> None:
        """Calls them with each search trial that has ended, whoever trains it, until the study ends."""
        follow_trials(self, callbacks)

    def importance(self) -> dict[str, float]:
        """Share of each hyperparameter in how the (first) objective varies, largest first; they add up to 1.

        Needs optuna and scikit-learn (`pip install "hydro-client[optuna]"`).

        Raises:
            FailedPrecondition: fewer than two trials have succeeded.
        """
        from hydro.client.importance import importance

        return importance(self.to_optuna(), self._settings.objectives)

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each search trial. Needs pandas (`pip install "hydro-client[dataframe]"`)."""
        from hydro.client.dataframe import dataframe

        return dataframe([each.snapshot for each in self.trials])

    def to_optuna(self, storage: str | None = None) -> optuna.Study:
        """The same study in Optuna, for its plots and its dashboard.

        Needs optuna (`pip install "hydro-client[optuna]"`).

        Args:
            storage: An Optuna storage to put it in ("sqlite:///digits.db"). None: memory.

        Raises:
            AlreadyExists: the storage has a study of this name.
        """
        from hydro.client.optuna_export import optuna_study

        return optuna_study(self.snapshot(), [each.snapshot for each in self.trials], storage)


def _call(callback: TrialCallback, study: Study, trial: Trial) -> None:
    callback(study, trial)
