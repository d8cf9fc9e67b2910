"""The way in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hydro.client.calls import CoordinatorCalls, TunerCalls
from hydro.client.commands import Command
from hydro.client.names import StudyName
from hydro.client.objectives import Constraint, Objective, Prior
from hydro.client.populations import Population
from hydro.client.pruning import Hyperband, NoPruning, Pruner
from hydro.client.snapshots import DeviceKind, DeviceSnapshot, ProjectSnapshot, StudySettings, StudySnapshot, StudyState
from hydro.client.spaces import Scalar, SearchSpace
from hydro.client.stopping import Stopping
from hydro.client.study import Study
from hydro.client.surrogates import SurrogateSettings
from hydro.client.task_source import entry_point_of, source_path_of
from hydro.kit.errors import FieldViolation, InvalidArgument

if TYPE_CHECKING:
    from hydro.client.suite.local import LocalSuite

COORDINATOR_PORT = 7400
TUNER_PORT = 7401


class Client:
    """A connection to the suite. Its methods raise the errors of `hydro.kit.errors`.

    Example::

        client = Client("localhost:7400")
        study = client.create_study(
            "digits", task="digits:Digits", search_space={"lr": loguniform(1e-3, 1)},
            objective=minimize("validation_loss"), pruner=asha(min_steps=50, max_steps=800), trials=64,
        )
        study.wait(progress=True)
    """

    def __init__(
        self, address: str | None = None, *, tuner_address: str | None = None, project: str = "default"
    ) -> None:
        """Connects when it is first needed.

        Args:
            address: host:port of the coordinator. None: HYDRO_COORDINATOR_ADDRESS, else localhost:7400.
            tuner_address: host:port of the tuner. None: HYDRO_TUNER_ADDRESS, else port 7401 of the coordinator's host.
            project: The project of all studies of this client.
        """
        self.address = address or os.environ.get("HYDRO_COORDINATOR_ADDRESS") or f"localhost:{COORDINATOR_PORT}"
        host = self.address.rpartition(":")[0]
        self.tuner_address = tuner_address or os.environ.get("HYDRO_TUNER_ADDRESS") or f"{host}:{TUNER_PORT}"
        self.project = project
        self._coordinator = CoordinatorCalls(self.address)
        self._tuner = TunerCalls(self.tuner_address)
        self._suite: LocalSuite | None = None

    @classmethod
    def local(cls, *, project: str = "default") -> Self:
        """Starts the suite for this process, on free ports and in a folder of its own.

        `close` stops it, and so does the end of this process.

        Raises:
            Unavailable: the suite does not start; the message has the end of its log.
        """
        from hydro.client.suite.local import LocalSuite

        suite = LocalSuite.start()
        client = cls(suite.coordinator_address, tuner_address=suite.tuner_address, project=project)
        client._suite = suite
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections, and stops the suite that `local` started."""
        self._coordinator.close()
        self._tuner.close()
        if self._suite is not None:
            self._suite.stop()

    def create_study(
        self,
        study_id: str,
        *,
        search_space: SearchSpace,
        objective: Objective | Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        known_points: Sequence[Mapping[str, Scalar]] = (),
        prior: Sequence[Prior] = (),
        task: str | type | None = None,
        command: Sequence[str] | Command | None = None,
        source_path: str | None = None,
        sampler: str = "tpe",
        pruner: Pruner | None = None,
        population: Population | None = None,
        surrogate: SurrogateSettings | None = None,
        trials: int = 64,
        parallelism: int = 32,
        seed: int = 0,
        stopping: Stopping | None = None,
        retries: int | None = None,
        failure_budget: int = 0,
        trial_timeout_seconds: float = 0.0,
        tags: Mapping[str, str] | None = None,
    ) -> Study:
        """Creates a study; it starts at once.

        Args:
            study_id: Lower-case letters, digits and dashes.
            search_space: Name of each hyperparameter to its domain.
            objective: `minimize(metric)` or `maximize(metric)`; several of them in a list.
            constraints: `at_most(metric, limit)` or `at_least(metric, limit)`: trials that keep them are better.
            known_points: Hyperparameters to try first, each exactly once.
            prior: `prior("projects/default/studies/x", weight=0.5)`: studies whose trials the search begins with.
            task: "module:Class" of a TrainingTask, or the class. None, and no command: the caller drives the study, by
                `Study.ask` and `Study.optimize`.
            command: A program to run for each trial instead of a task: its arguments, or a `Command`.
            source_path: Folder that the task's module is imported from, or the command's own, the same on every
                machine. None: where the module is found from here, none for a command; "": it is installed.
            sampler: "tpe", "gp", "cmaes", "nsga2", "sobol", "random" or "grid"; "auto": the service chooses, and the
                study says why; or the name of a search backend that is installed where the coordinator runs.
                "bohb" is "tpe", and needs the pruner `hyperband`.
            pruner: Also says how long a trial trains. A study with a task needs one.
            population: Population-based training, in place of a pruner; `parallelism` is `trials` then.
            surrogate: None: the target itself is tuned.
            trials: Search trials.
            parallelism: Search trials that may run at once.
            seed: Of the search, the data order and the trials.
            stopping: What ends it before all trials have: `stop_when(...)`.
            retries: How often a trial is run again whose worker or caller was lost, or gave its bundle up. None: 3.
            failure_budget: With so many failed trials the study fails. 0: any number may fail.
            trial_timeout_seconds: Of a study that its callers drive: a trial is given to another caller when nothing
                was heard of its own for so long, `retries` times at most. `Study.ask` and `Study.optimize` say by
                themselves that they live. 0: callers are waited for, for ever.
            tags: To find it by.

        Raises:
            InvalidArgument: names each wrong field; nothing is stored.
            AlreadyExists: the id is taken.
        """
        entry_point = entry_point_of(task) if task is not None else ""
        first, *further = [objective] if isinstance(objective, Objective) else objective
        settings = StudySettings(
            search_space=search_space,
            objective=first,
            further_objectives=tuple(further),
            constraints=tuple(constraints),
            known_points=tuple(known_points),
            # A name that is none is for the service to refuse, with its field.
            priors=tuple(
                each if "/" in each.study else replace(each, study=str(self.study_name(each.study))) for each in prior
            ),
            sampler=_sampler(sampler, pruner),
            pruner=_pruner(pruner, population, entry_point),
            population=population,
            surrogate=surrogate or SurrogateSettings(1.0),
            max_trials=trials,
            parallelism=parallelism if population is None else trials,
            seed=seed,
            entry_point=entry_point,
            source_path=source_path if source_path is not None else source_path_of(entry_point),
            command=command if command is None or isinstance(command, Command) else Command(command),
            stopping=stopping or Stopping(),
            retries=retries,
            failure_budget=failure_budget,
            trial_timeout_seconds=trial_timeout_seconds,
            tags=tags or {},
        )
        return self._study(self._coordinator.create_study(self.study_name(study_id), settings))

    def get_study(self, study_id: str) -> Study:
        """A study of this project.

        Raises:
            NotFound: there is none of that id.
        """
        return self._study(self._coordinator.get_study(self.study_name(study_id)))

    def list_studies(
        self, *, states: Sequence[StudyState] = (), tags: Mapping[str, str] | None = None, limit: int | None = None
    ) -> list[Study]:
        """The studies of this project, the newest first.

        Args:
            states: Only those in one of these. Empty: in any.
            tags: Only those that have all of these.
            limit: Not more than so many.
        """
        return [self._study(each) for each in self.list_snapshots(states=states, tags=tags, limit=limit)]

    def list_snapshots(
        self, *, states: Sequence[StudyState] = (), tags: Mapping[str, str] | None = None, limit: int | None = None
    ) -> list[StudySnapshot]:
        """What those studies were when they were listed, without another call for each.

        Args:
            states: As of `list_studies`.
            tags: As of `list_studies`.
            limit: As of `list_studies`.
        """
        return list(self._coordinator.list_studies(self.project, states, tags or {}, limit))

    def get_project(self) -> ProjectSnapshot:
        """This client's project: what it may have, and how many of its studies are open."""
        return self._coordinator.get_project(self.project)

    def list_devices(self) -> list[DeviceSnapshot]:
        """Every device that bundles may run on."""
        return list(self._coordinator.list_devices())

    def register_device(
        self, name: str, *, kind: DeviceKind = DeviceKind.CPU, cpu_cores: Sequence[int] = ()
    ) -> DeviceSnapshot:
        """Lets bundles run on a device of the coordinator's executor, `devices/*`, from now on.

        Args:
            name: Its resource name.
            kind: What it is. Slots register themselves.
            cpu_cores: Cores that its workers are pinned to. Empty: they are not pinned.

        Raises:
            InvalidArgument: names each wrong field.
        """
        return self._coordinator.register_device(name, kind, cpu_cores)

    def drain_device(self, name: str) -> DeviceSnapshot:
        """No bundle starts on the device any more; running ones are asked to release.

        Raises:
            NotFound: there is none of that name.
        """
        return self._coordinator.drain_device(name)

    def study_name(self, study_id: str) -> StudyName:
        """The resource name of a study of this project; a full name is read as it is."""
        return StudyName.parse(study_id) if "/" in study_id else StudyName(self.project, study_id)

    def _study(self, snapshot: StudySnapshot) -> Study:
        return Study(snapshot, self._coordinator, self._tuner)


def _sampler(sampler: str, pruner: Pruner | None) -> str:
    """BOHB is TPE with Hyperband."""
    if sampler != "bohb":
        return sampler
    if not isinstance(pruner, Hyperband):
        given = "no pruner" if pruner is None else f"{type(pruner).__name__}"
        advice = f"is 'bohb', which is TPE with Hyperband, with {given}: give pruner=hyperband(...), or sampler='tpe'"
        raise InvalidArgument.of([FieldViolation("study.sampler", advice)])
    return "tpe"


def _pruner(pruner: Pruner | None, population: Population | None, entry_point: str) -> Pruner:
    if population is not None and pruner is not None:
        advice = "is given beside a population, which prunes nothing: leave one of them out"
        raise InvalidArgument.of([FieldViolation("study.pruner", advice)])
    if population is not None:
        return NoPruning(max_steps=population.max_steps, interval_steps=0)
    if pruner is not None:
        return pruner
    if entry_point:
        raise InvalidArgument.of(
            [FieldViolation("study.pruner", "is missing; give asha(...), median(...), or no_pruning(max_steps)")]
        )
    return NoPruning(max_steps=0, interval_steps=0)
