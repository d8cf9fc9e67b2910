"""A study with trials, and a device that works on them, in storage."""

from __future__ import annotations

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import Device, DeviceKind
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.pruning_rules import AshaPruning
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import NewTrial
from hydro.coordinator.study import START_SEARCH, Goal, Objective, Sampler, StudySpec, StudyState, Task
from hydro.coordinator.trial import TrialKind

STUDY = StudyName("p", "digits")
DEVICE = DeviceName("devices/cpu-0")
SPEC = StudySpec(
    task=Task("digits:Digits", "/tasks"),
    search_space=SearchSpace(
        (
            Parameter("lr", FloatDomain(1e-5, 1e22, log=True)),
            Parameter("layers", IntDomain(1, 4)),
            Parameter("kind", CategoricalDomain(("a", 1, 1.0, True))),
            Parameter("width", ConstantDomain(3.0), (Condition("layers", (2, 3)),), not_transferable=True),
        )
    ),
    objective=Objective("loss", Goal.MINIMIZE),
    sampler=Sampler.TPE,
    pruning=AshaPruning(2, 2),
    max_steps=8,
    surrogate_width=0.25,
    surrogate_depth=0.5,
    max_trials=8,
    parallelism=4,
    seed=7,
)


async def add_study(tx: Transaction, trials: int = 0, name: StudyName = STUDY):
    study = await tx.studies.insert(name, SPEC, StudyState.PREPARING)
    await tx.studies.move(name, START_SEARCH)
    await tx.trials.insert(name, [NewTrial({"lr": 0.1 * (n + 1)}, n) for n in range(trials)])
    return study


async def add_lease(tx: Transaction, trials: int = 2, seconds: float = 60.0):
    await add_study(tx, trials)
    await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
    bundle = await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, tuple(range(trials)), max_lanes=4), DEVICE)
    lease = await tx.leases.acquire(DEVICE, "worker", seconds)
    assert bundle is not None and lease is not None
    return bundle, lease


async def states(tx: Transaction):
    return [trial.state for trial in await tx.trials.all(STUDY)]
