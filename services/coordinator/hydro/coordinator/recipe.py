"""A bundle's recipe: everything that a worker needs to build and train its trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hydro.coordinator.bundle import Bundle, Execution, PlannedBundle
from hydro.coordinator.command import Command
from hydro.coordinator.lease import Lease
from hydro.coordinator.names import TrialName
from hydro.coordinator.pruning.pruning_rule import measured_steps
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Objective, Study, Task
from hydro.coordinator.trial import Artifact, Trial, TrialKind, TrialState
from hydro.kit.errors import FailedPrecondition, Internal


@dataclass(frozen=True, slots=True)
class Recipe:
    """See hydro.api.type.v1.BundleRecipe: of a task, or of a command. Units: optimizer steps, seconds."""

    task: Task | None
    width: float
    surrogate: Artifact | None
    execution: Execution
    max_lanes: int
    micro_lanes: int
    memory_bytes: int
    threads: int
    lanes: tuple[Trial, ...]
    data_seed: int
    measured_steps: tuple[int, ...]
    objective: Objective
    command: Command | None = None
    artifact_path: str = ""
    """Folder of what its lanes write, below the artifacts' own. A command's is the study's alone: its programs find
    there what earlier runs of the same trial have left."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease with the recipe of its bundle, what the device has for bundles, and the gate page of its slot."""

    lease: Lease
    recipe: Recipe
    device_memory_bytes: int = 0
    gate: str = ""


async def recipe_of(tx: Transaction, bundle: Bundle) -> Recipe:
    """The recipe of a bundle that runs, with the lanes that it has now."""
    study = await tx.studies.get(bundle.plan.study)
    lanes = [lane for lane in await tx.trials.in_bundle(bundle.number) if lane.state is TrialState.RUNNING]
    return await _recipe(tx, study, bundle.plan, lanes)


async def trial_recipe(tx: Transaction, name: TrialName) -> Recipe:
    """What runs one trial again by itself, from its start.

    Raises:
        FailedPrecondition: WRONG_STATE: its caller trains it, its surrogate is not made yet, or it is a member of a
            population that has changed on its way.
    """
    study, trial = await tx.studies.get(name.study), await tx.trials.get(name)
    if study.spec.is_driven:
        raise FailedPrecondition(f"{name.study} has no task and no command: its caller trains its trials")
    if study.spec.task is not None and await tx.surrogates.of_study(study.name) is None:
        raise FailedPrecondition(f"{name.study} is {study.state.name}: its surrogate is not made yet")
    if trial.kind is TrialKind.SEARCH and (trial.schedule or trial.changes):
        raise FailedPrecondition(
            f"{name} is a member of a population, and was changed on its way by how others stood: it cannot be run "
            "again by itself; its changes and its schedule say what it was trained with"
        )
    plan = PlannedBundle(study.name, trial.kind, (name.number,))
    return await _recipe(tx, study, plan, [replace(trial, checkpoint=None, checkpoint_steps=0)])


async def _recipe(tx: Transaction, study: Study, plan: PlannedBundle, lanes: Sequence[Trial]) -> Recipe:
    surrogate = await tx.surrogates.of_study(study.name)
    if study.spec.is_driven or (study.spec.task is not None and surrogate is None):
        raise Internal(f"{study.name} has a bundle, but no task or no surrogate")
    is_target = plan.kind is TrialKind.TARGET
    width = 1.0 if is_target or surrogate is None else surrogate.width
    return Recipe(
        task=study.spec.task,
        command=study.spec.command,
        artifact_path=f"/commands/{study.name.study}-{study.uid[:8]}" if study.spec.command else "",
        width=width,
        surrogate=surrogate.artifact if surrogate is not None and width < 1 else None,
        execution=plan.execution,
        max_lanes=plan.max_lanes,
        micro_lanes=plan.micro_lanes,
        memory_bytes=plan.memory_bytes,
        threads=plan.threads,
        lanes=tuple(lanes),
        # Targets of different seeds see the data in different orders.
        data_seed=lanes[0].seed if is_target and lanes else study.spec.seed,
        measured_steps=measured_steps(study.spec.measuring, study.spec.max_steps),
        objective=study.spec.objective,
    )
