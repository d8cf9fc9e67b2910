"""A bundle's recipe: everything that a worker needs to build and train its trials."""

from __future__ import annotations

from dataclasses import dataclass

from hydro.coordinator.bundle import Bundle, Execution
from hydro.coordinator.lease import Lease
from hydro.coordinator.pruning.pruning_rule import measured_steps
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Objective, Task
from hydro.coordinator.trial import Artifact, Trial, TrialKind, TrialState
from hydro.kit.errors import Internal


@dataclass(frozen=True, slots=True)
class Recipe:
    """See hydro.api.type.v1.BundleRecipe. Units: optimizer steps, seconds."""

    task: Task
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
    surrogate = await tx.surrogates.of_study(study.name)
    if study.spec.task is None or surrogate is None:
        raise Internal(f"{study.name} has a bundle, but no task or no surrogate")
    lanes = [lane for lane in await tx.trials.in_bundle(bundle.number) if lane.state is TrialState.RUNNING]
    is_target = bundle.plan.kind is TrialKind.TARGET
    width = 1.0 if is_target else surrogate.width
    return Recipe(
        task=study.spec.task,
        width=width,
        surrogate=surrogate.artifact if width < 1 else None,
        execution=bundle.plan.execution,
        max_lanes=bundle.plan.max_lanes,
        micro_lanes=bundle.plan.micro_lanes,
        memory_bytes=bundle.plan.memory_bytes,
        threads=bundle.plan.threads,
        lanes=tuple(lanes),
        # Targets of different seeds see the data in different orders.
        data_seed=lanes[0].seed if is_target and lanes else study.spec.seed,
        measured_steps=measured_steps(study.spec.pruning, study.spec.max_steps),
        objective=study.spec.objective,
    )
