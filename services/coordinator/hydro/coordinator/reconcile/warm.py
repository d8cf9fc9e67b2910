"""Workers start while a study's surrogate is built, so that they are there when its first bundles are."""

from __future__ import annotations

import structlog

from hydro.coordinator.device import LOCAL, Device, DeviceState
from hydro.coordinator.executor.executor import Executor, WorkerPlace
from hydro.coordinator.reconcile.backoff import Backoff
from hydro.coordinator.storage.storage import Storage
from hydro.coordinator.study import StudyState
from hydro.kit.errors import HydroError

_log = structlog.get_logger()

WARM_WORKERS = 4
"""Most workers that are started for one study before it has a bundle: each holds torch in memory while it waits."""


class Warming:
    """Starts workers once for each study, on idle devices of this machine.

    What it remembers may be lost: a study then gets its workers once more. A worker that waits in vain ends by itself.
    """

    def __init__(self, storage: Storage, executor: Executor, backoff: Backoff) -> None:
        self._storage = storage
        self._executor = executor
        self._backoff = backoff
        self._warmed: set[str] = set()

    async def warm(self) -> None:
        """One step of the loop."""
        preparing = await self._storage.run(lambda tx: tx.studies.in_states([StudyState.PREPARING]))
        tasks = {study.uid: study.spec for study in preparing if study.spec.task is not None}
        new = [spec for uid, spec in tasks.items() if uid not in self._warmed]
        self._warmed = set(tasks)
        if not new:
            return
        staffed = set(self._executor.running().values())
        devices = await self._storage.run(lambda tx: tx.devices.all())
        idle = [device for device in devices if _is_idle(device) and str(device.name) not in staffed]
        for device in idle[: min(WARM_WORKERS, max(spec.parallelism for spec in new))]:
            await self._start(device)

    async def _start(self, device: Device) -> None:
        if not self._backoff.may_start(str(device.name)):
            return
        try:
            await self._executor.start(WorkerPlace(str(device.name), device.cpu_cores, device.gpu_index))
        except HydroError as error:
            self._backoff.fail(str(device.name))
            _log.warning("worker cannot be started", device=str(device.name), error=str(error))


def _is_idle(device: Device) -> bool:
    return device.source == LOCAL and device.state is DeviceState.READY and device.bundle is None
