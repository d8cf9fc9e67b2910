"""PENDING trials become bundles on idle devices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from hydro.coordinator.allocation.allocate import Placement, allocate, is_idle
from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import Bundle, BundleState, PlannedBundle
from hydro.coordinator.command import Command, InBubbles
from hydro.coordinator.device import Device
from hydro.coordinator.fitting import Fits, fits_of
from hydro.coordinator.reconcile.patience import Patience
from hydro.coordinator.retrying import isolated
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import Study, StudyState
from hydro.coordinator.trial import Trial, TrialKind, TrialState
from hydro.coordinator.tuner import Tuner

_TARGETS_RUN_IN = (StudyState.SEARCHING, StudyState.SUCCEEDED)


async def plan(
    storage: Storage, tuner: Tuner, bell: Bell, patience: Patience, has_worker: Callable[[Device], bool]
) -> None:
    """Plans bundles for the idle devices and allocates them: targets first, then studies in the order of their age.

    A device counts only if it `has_worker`, or can have one now.
    """
    idle_devices = partial(_idle_devices, has_worker=has_worker)
    idle = await storage.run(idle_devices)
    if not idle:
        return
    await _plan_targets(storage, bell, idle)
    for study in await storage.run(lambda tx: tx.studies.in_states([StudyState.SEARCHING])):
        idle = await storage.run(idle_devices)
        if idle and study.spec.task is not None:
            await _plan_search(storage, tuner, bell, patience, study, idle)
        elif idle and study.spec.command is not None:
            await _plan_commands(storage, bell, patience, study, study.spec.command, idle)


async def _idle_devices(tx: Transaction, has_worker: Callable[[Device], bool]) -> Sequence[Device]:
    idle = [device for device in await tx.devices.all() if is_idle(device) and has_worker(device)]
    return sorted(idle, key=lambda device: (not device.is_exclusive, device.name))


async def _plan_targets(storage: Storage, bell: Bell, idle: Sequence[Device]) -> None:
    async def work(tx: Transaction) -> Sequence[PlannedBundle]:
        waiting = await tx.trials.waiting(TrialKind.TARGET)
        studies = {name: await tx.studies.get(name) for name in {trial.name.study for trial in waiting}}
        return [
            # Its segments are not measured, so that no slot fits it.
            PlannedBundle(trial.name.study, TrialKind.TARGET, (trial.name.number,))
            for trial in waiting
            if studies[trial.name.study].state in _TARGETS_RUN_IN
        ]

    bundles = await storage.run(work)
    if bundles:
        await _place(storage, bell, allocate(bundles, idle))


async def _plan_search(
    storage: Storage, tuner: Tuner, bell: Bell, patience: Patience, study: Study, idle: Sequence[Device]
) -> None:
    surrogate = await storage.run(lambda tx: tx.surrogates.of_study(study.name))
    if surrogate is None:
        return
    trials = await storage.run(lambda tx: plannable(tx, study, surrogate.fits, patience))
    if trials:
        misses = await storage.run(lambda tx: tx.surrogates.misses(study.name))
        bundles = await tuner.plan_bundles(surrogate, study, trials, idle, misses)
        limits = {trial.name.number: trial.lane_limit for trial in trials if trial.lane_limit}
        await _place(storage, bell, allocate(isolated(bundles, limits), idle))


async def _plan_commands(
    storage: Storage, bell: Bell, patience: Patience, study: Study, command: Command, idle: Sequence[Device]
) -> None:
    async def work(tx: Transaction) -> Sequence[Trial]:
        fits = await fits_of(tx, study)
        return [] if fits is None else await plannable(tx, study, fits, patience)

    numbers = [trial.name.number for trial in await storage.run(work)]
    devices = sum(device.is_exclusive for device in idle)
    if numbers:
        await _place(storage, bell, allocate(command_bundles(study, command, numbers, devices), idle))


def command_bundles(study: Study, command: Command, numbers: Sequence[int], devices: int) -> list[PlannedBundle]:
    """Spreads trials over exclusive devices before any gets a second one; no more on one than the command allows.

    What is left may go to slots, one trial each, if the command has leave to run in bubbles. No slot fits the others,
    whose segments are not measured.
    """
    lanes = min(command.trials_per_device, math.ceil(len(numbers) / devices)) if devices else command.trials_per_device
    placed = lanes * devices if command.in_bubbles else len(numbers)
    bundles = [
        PlannedBundle(
            study.name, TrialKind.SEARCH, tuple(numbers[start : start + lanes]), max_lanes=command.trials_per_device
        )
        for start in range(0, min(placed, len(numbers)), lanes)
    ]
    if command.in_bubbles is not None:
        bundles += [_in_bubbles(study, command.in_bubbles, number) for number in numbers[placed:]]
    return bundles


def _in_bubbles(study: Study, in_bubbles: InBubbles, number: int) -> PlannedBundle:
    """One program: they would take turns in the bubbles of a slot."""
    return PlannedBundle(
        study.name,
        TrialKind.SEARCH,
        (number,),
        memory_bytes=in_bubbles.memory_bytes,
        segment_seconds=in_bubbles.needed_seconds,
    )


async def plannable(tx: Transaction, study: Study, fits: Fits, patience: Patience) -> Sequence[Trial]:
    """PENDING trials that should start now, the most advanced first, within the study's parallelism.

    A trial that a running bundle has room for waits for that bundle, as long as its patience lasts: else bundles would
    crumble into ones of few lanes.
    """
    trials = [trial for trial in await tx.trials.open(study.name) if trial.kind is TrialKind.SEARCH]
    bundles = [each for each in await tx.bundles.live(study.name) if each.plan.kind is TrialKind.SEARCH]
    active = sum(trial.state is TrialState.RUNNING or trial.bundle is not None for trial in trials)
    waiting = [trial for trial in trials if trial.state is TrialState.PENDING and trial.bundle is None]
    waiting.sort(key=lambda trial: -trial.steps)
    free = _free_lanes(bundles, trials)
    chosen = []
    for trial in waiting:
        host = None if trial.lane_limit else _host(trial, bundles, free, fits)
        if host is not None and not patience.is_over(trial):
            free[host] -= 1
        else:
            chosen.append(trial)
    return chosen[: max(0, study.spec.parallelism - active)]


def _free_lanes(bundles: Sequence[Bundle], trials: Sequence[Trial]) -> dict[int, int]:
    free = {each.number: each.plan.max_lanes for each in bundles if each.state is BundleState.RUNNING}
    for trial in trials:
        if trial.bundle in free:
            free[trial.bundle] -= 1
    return free


def _host(trial: Trial, bundles: Sequence[Bundle], free: dict[int, int], fits: Fits) -> int | None:
    for bundle in bundles:
        if free.get(bundle.number, 0) > 0 and fits(trial.hyperparameters, bundle.plan.structure):
            return bundle.number
    return None


async def _place(storage: Storage, bell: Bell, placements: Sequence[Placement]) -> None:
    for placement in placements:
        if await storage.run(partial(_insert, placement=placement)):
            bell.ring()


async def _insert(tx: Transaction, placement: Placement) -> Bundle | None:
    return await tx.bundles.insert(placement.bundle, placement.device.name)
