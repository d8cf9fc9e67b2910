"""Trials, as a user holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import TrialName
from hydro.client.objectives import Objective
from hydro.client.renewing import Run
from hydro.client.snapshots import HyperparameterChange, Measurement, Retry, TrialKind, TrialSnapshot, TrialState
from hydro.client.spaces import Scalar
from hydro.client.telling import Told, metrics_of


class TrialPruned(Exception):
    """Raised by an objective function that follows the pruner's advice to stop its trial."""


class Trial:
    """One training with one choice of hyperparameters, as it was when it was read; `refresh` reads it again.

    A trial that `Study.ask` gave is driven by its caller: `report` measurements, then `tell` the final value, or
    `prune`, or `fail`.
    """

    def __init__(self, snapshot: TrialSnapshot, objectives: Sequence[Objective], coordinator: CoordinatorCalls) -> None:
        self._snapshot = snapshot
        # As it was given to this caller: a trial that is read again may be another's by then.
        self._lost_runs = snapshot.lost_runs
        self._objectives = tuple(objectives)
        self._coordinator = coordinator
        self.repeat = 0
        """Which repeat of the trial runs: `Study.optimize` counts them from 0."""

    def __repr__(self) -> str:
        return f"<Trial {self.number} {self.state.name} value={self.value} {dict(self.hyperparameters)}>"

    @property
    def snapshot(self) -> TrialSnapshot:
        """All that was read, as a value."""
        return self._snapshot

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What its study optimizes."""
        return self._objectives

    @property
    def name(self) -> TrialName:
        """Its resource name."""
        return self._snapshot.name

    @property
    def run(self) -> Run:
        """Its name, and how many of its runs were lost before this one: its caller says so in all that it reports."""
        return self.name, self._lost_runs

    @property
    def number(self) -> int:
        """Its number in its study, from 0."""
        return self._snapshot.name.number

    @property
    def kind(self) -> TrialKind:
        """SEARCH: trains the surrogate; TARGET: trains the target."""
        return self._snapshot.kind

    @property
    def state(self) -> TrialState:
        """Its state when it was read."""
        return self._snapshot.state

    @property
    def state_reason(self) -> str:
        """Why it failed, with the traceback where there is one."""
        return self._snapshot.state_reason

    @property
    def hyperparameters(self) -> Mapping[str, Scalar]:
        """Name to value."""
        return self._snapshot.hyperparameters

    @property
    def schedule(self) -> tuple[HyperparameterChange, ...]:
        """What its weights were trained with, ascending by step; in a population, also in the trials they came from."""
        return self._snapshot.schedule or (HyperparameterChange(0, self.hyperparameters, self.number),)

    @property
    def changes(self) -> tuple[HyperparameterChange, ...]:
        """What the trial itself was trained with, ascending by step, weights that it gave up for others' included."""
        return self._snapshot.changes or (HyperparameterChange(0, self.hyperparameters, self.number),)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Ascending by step."""
        return self._snapshot.measurements

    @property
    def value(self) -> float | None:
        """The (first) objective at the last measured step; None before the first."""
        return self._snapshot.value

    @property
    def values(self) -> tuple[float, ...]:
        """The objectives at its end, in the study's order; empty until it has succeeded."""
        return self._snapshot.values

    @property
    def metrics(self) -> Mapping[str, float]:
        """What was measured at its end: of the last measurement, and what was told with the objectives."""
        last = dict(self.measurements[-1].metrics) if self.measurements else {}
        return {**last, **self._snapshot.metrics}

    @property
    def feasible(self) -> bool | None:
        """Whether it keeps the constraints; None until it has succeeded, and where there are none."""
        return self._snapshot.feasible

    @property
    def steps(self) -> int:
        """Optimizer steps that are acknowledged."""
        return self._snapshot.steps

    @property
    def seed(self) -> int:
        """Seed of its initial values and of its random numbers; each repeat has its own."""
        return self._snapshot.seed + self.repeat

    @property
    def device_seconds(self) -> float:
        """Its share of the device time of its bundles."""
        return self._snapshot.device_seconds

    @property
    def log(self) -> str:
        """What its workers logged, the last 64 KiB. Read anew each time."""
        return self._coordinator.get_trial(self.name).log

    @property
    def tags(self) -> Mapping[str, str]:
        """What it can be found by."""
        return self._snapshot.tags

    @property
    def retries(self) -> tuple[Retry, ...]:
        """What went wrong with its runs before, oldest first."""
        return self._snapshot.retries

    def tag(self, tags: Mapping[str, str] | None = None, *, remove: Sequence[str] = ()) -> None:
        """Adds tags and removes others.

        Raises:
            InvalidArgument: names each that cannot be a tag.
        """
        self._snapshot = self._coordinator.tag_trial(self.name, tags or {}, remove)

    def replay(self) -> Mapping[str, Scalar]:
        """Gives what the search suggests for the trial once more, from the history that its suggestion had known.

        Returns:
            The trial's hyperparameters, unless the service is of a release that searches otherwise.

        Raises:
            FailedPrecondition: nothing suggested it: it is a known point or a target.
        """
        return self._coordinator.replay_suggestion(self.name)

    def refresh(self) -> Trial:
        """Reads the trial again, and gives it."""
        self._snapshot = self._coordinator.get_trial(self.name)
        return self

    def report(self, step: int, value: float | Mapping[str, float], *, elapsed_seconds: float | None = None) -> bool:
        """Reports the objective (or several metrics by name, the objective among them) after `step` optimizer steps.

        `elapsed_seconds` of training are what a pruner by time compares; None: the time since the trial was asked for.
        Of a trial that is repeated, the first repeat's reports are its measurements; those of the others are not kept.

        Returns:
            True if the pruner advises to stop: end the trial with `prune`. Not at the last step of a trial that was
            trained to the end: `tell` its value.

        Raises:
            AlreadyExists: another value was reported for this step before; the first stands.
            FailedPrecondition: the trial has ended, or its study trains it itself; LEASE_LOST, nothing was heard of
                this process for too long, and the trial is another caller's.
        """
        metrics = value if isinstance(value, Mapping) else {self._objectives[0].metric: float(value)}
        if self.repeat:
            return False
        return self._coordinator.report_measurement(self.run, step, metrics, elapsed_seconds)

    def tell(self, value: Told) -> None:
        """Ends the trial with its final objective. The same again is no error.

        Args:
            value: The objective; several of them in the study's order; or metrics by name, constrained ones and any
                others among them. What is left out is taken from the last measurement, but for objectives.

        Raises:
            InvalidArgument: an objective or a constrained metric is missing.
            FailedPrecondition: it has ended otherwise.
        """
        metrics = metrics_of(value, self._objectives)
        first = metrics.pop(self._objectives[0].metric)
        self._snapshot = self._coordinator.complete_trial(self.run, first, metrics)

    def prune(self) -> None:
        """Ends the trial as pruned.

        Raises:
            FailedPrecondition: it has ended otherwise.
        """
        self._snapshot = self._coordinator.prune_trial(self.run)

    def fail(self, reason: str) -> None:
        """Ends the trial as failed.

        Raises:
            FailedPrecondition: it has ended otherwise.
        """
        self._snapshot = self._coordinator.fail_trial(self.run, reason)
