"""Devices with a bundle get a worker."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from hydro.coordinator.device import REGISTERED, Device, DeviceState
from hydro.coordinator.executor.executor import Executor, WorkerPlace
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.reconcile.backoff import Backoff
from hydro.coordinator.storage.storage import Storage
from hydro.kit.errors import HydroError

_log = structlog.get_logger()


async def execute(storage: Storage, executor: Executor, leasing: Leasing, backoff: Backoff) -> None:
    """Starts a worker on each device of our own that has a bundle and no worker; ends the leases of dead workers.

    A device that was registered from outside brings its own worker.
    """
    lost: dict[str, str] = {}
    for ended in await executor.poll():
        if ended.exit_code != 0:
            backoff.fail(ended.device)
            lost[ended.device] = f"its worker ended with exit code {ended.exit_code}: {ended.log_tail.strip()}"
            _log.warning("worker failed", worker=ended.worker, exit_code=ended.exit_code, log=ended.log_tail)
        else:
            backoff.succeed(ended.device)
    devices = await storage.run(lambda tx: tx.devices.all())
    staffed = set(executor.running().values())
    bare = [device for device in devices if device.source != REGISTERED and str(device.name) not in staffed]
    await _end_leases(storage, leasing, bare, lost)
    for device in bare:
        if device.bundle is not None and device.lease is None and device.state is DeviceState.READY:
            await _start(executor, device, backoff)


async def _end_leases(storage: Storage, leasing: Leasing, devices: list[Device], lost: Mapping[str, str]) -> None:
    # Workers of ours die with the process that started them: a lease without a worker here has no worker anywhere. Its
    # trials are to blame only when it was seen to end by itself.
    names = {device.lease for device in devices if device.lease is not None}
    if names:
        active = await storage.run(lambda tx: tx.leases.active())
        await leasing.expire({lease: lost.get(str(lease.device), "") for lease in active if lease.name in names})


async def _start(executor: Executor, device: Device, backoff: Backoff) -> None:
    if not backoff.may_start(str(device.name)):
        return
    try:
        await executor.start(WorkerPlace(str(device.name), device.cpu_cores, device.gpu_index))
    except HydroError as error:
        backoff.fail(str(device.name))
        _log.warning("worker cannot be started", device=str(device.name), error=str(error))
