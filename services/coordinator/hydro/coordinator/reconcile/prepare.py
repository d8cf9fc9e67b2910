"""PREPARING studies get their surrogate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.device import Device, DeviceState
from hydro.coordinator.evolution.evolve import unfit
from hydro.coordinator.names import SurrogateName
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import FAIL_STUDY, START_SEARCH, Study, StudyState
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.tuner import Tuner
from hydro.kit.errors import InvalidArgument, Unavailable


def surrogate_name(study: Study) -> SurrogateName:
    """The name of a study's surrogate: another one for another study that takes the same id later."""
    return SurrogateName(study.name.project, f"{study.name.study[:54]}-{study.uid[:8]}")


class Preparation:
    """Asks the tuner for the surrogate of each PREPARING study, and stores what has become of it.

    To create is to ask how it stands: the tuner gives the surrogate that there is, or starts again what was lost.
    """

    def __init__(self, storage: Storage, tuner: Tuner, bell: Bell, artifact_uri: str) -> None:
        self._storage = storage
        self._tuner = tuner
        self._bell = bell
        self._artifact_uri = artifact_uri
        self._watched: dict[SurrogateName, asyncio.Task[None]] = {}

    async def prepare(self) -> None:
        """One step of the loop."""
        for study in await self._storage.run(lambda tx: tx.studies.in_states([StudyState.PREPARING])):
            threads = least_threads(await self._storage.run(lambda tx: tx.devices.all()))
            name = surrogate_name(study)
            try:
                surrogate = await self._tuner.create_surrogate(name, study.spec, self._artifact_uri, threads)
            except InvalidArgument as error:
                surrogate = Surrogate(name, SurrogateState.FAILED, error.message)
            if surrogate.state is SurrogateState.BUILDING and name not in self._watched:
                self._watched[name] = asyncio.create_task(self._follow(name))
            if await self._storage.run(partial(_store, study=study, surrogate=surrogate)):
                self._bell.ring()

    async def _follow(self, name: SurrogateName) -> None:
        """Rings when the surrogate is built. When the tuner is gone meanwhile, the loop's next round finds out."""
        try:
            with contextlib.suppress(Unavailable):
                await self._tuner.until_built(name)
                self._bell.ring()
        finally:
            del self._watched[name]


def least_threads(devices: Sequence[Device]) -> int:
    """Gives the threads that every device has to give, of those that tell; 0: none does.

    A bundle may run on any of them, with as many threads as its plan was made for.
    """
    ready = (device.threads for device in devices if device.state is DeviceState.READY)
    return min((threads for threads in ready if threads), default=0)


async def _store(tx: Transaction, study: Study, surrogate: Surrogate) -> bool:
    """Gives whether the study has moved."""
    current = await tx.studies.lock(study.name)
    if current.uid != study.uid or current.state is not StudyState.PREPARING:
        return False
    await tx.surrogates.put(study.name, surrogate)
    match surrogate.state:
        case SurrogateState.BUILDING:
            return False
        case SurrogateState.FAILED:
            if surrogate.record:
                # It has a report: of the checks that it failed.
                await tx.studies.set_surrogate(study.name, surrogate.name, surrogate.fingerprint)
            await tx.studies.move(study.name, FAIL_STUDY, surrogate.state_reason or "the surrogate could not be made")
        case SurrogateState.READY:
            await tx.studies.set_surrogate(study.name, surrogate.name, surrogate.fingerprint)
            await tx.studies.add_warnings(study.name, surrogate.warnings)
            reason = unfit(study, surrogate)
            await tx.studies.move(study.name, FAIL_STUDY if reason else START_SEARCH, reason)
    return True
