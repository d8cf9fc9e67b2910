"""A study with a task in storage, as the steps of the loop find it."""

from __future__ import annotations

from dataclasses import replace

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import LOCAL, Device, DeviceKind
from hydro.coordinator.names import DeviceName, StudyName, SurrogateName
from hydro.coordinator.pruning_rules import AshaPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import NewTrial
from hydro.coordinator.study import (
    START_SEARCH,
    Goal,
    Objective,
    Sampler,
    StudySpec,
    StudyState,
    Task,
)
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.trial import TrialKind

STUDY = StudyName("p", "s")
CPU = Device(DeviceName("devices/cpu"), DeviceKind.CPU, source=LOCAL)
SLOT = Device(DeviceName("devices/gpu/slots/one"), DeviceKind.SLOT, bubble_seconds=0.1, source="squeezer")
SPEC = StudySpec(
    Task("toy:Toy"), SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE),
    Sampler.RANDOM, AshaPruning(1, 4), 4, 0.5, 3, 8, 0,
)  # fmt: skip


async def add_study(tx: Transaction, trials: int = 3, *, width: float = 1.0, **changes: object) -> None:
    await tx.studies.insert(STUDY, replace(SPEC, **changes), StudyState.PREPARING)
    surrogate = Surrogate(
        SurrogateName("p", "s"), SurrogateState.READY, width=width, lane_hyperparameters=frozenset({"lr"})
    )
    await tx.surrogates.put(STUDY, surrogate)
    await tx.studies.move(STUDY, START_SEARCH)
    await tx.trials.insert(STUDY, [NewTrial({"lr": 0.5}, 0)] * trials)


async def allocate(tx: Transaction, device: Device, *trials: int) -> None:
    await tx.devices.put(device)
    plan = PlannedBundle(STUDY, TrialKind.SEARCH, trials, max_lanes=4)
    assert await tx.bundles.insert(plan, device.name) is not None


async def states(storage):
    return [trial.state for trial in await storage.run(lambda tx: tx.trials.all(STUDY))]
