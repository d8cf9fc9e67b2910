"""Runs the coordinator: python -m hydro.coordinator."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from functools import partial

import grpc

from hydro.api.coordinator.v1 import device_service_pb2_grpc, study_service_pb2_grpc, worker_service_pb2_grpc
from hydro.coordinator.asking import Asking
from hydro.coordinator.bell import Bell
from hydro.coordinator.device import REGISTERED, Device
from hydro.coordinator.devices import Devices
from hydro.coordinator.driven import DrivenTrials
from hydro.coordinator.executor.local_executor import LocalExecutor
from hydro.coordinator.hot.callers import Callers
from hydro.coordinator.hot.group_commit import GroupCommit
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.hot.lines import Lines
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.lost_callers import LostCallers
from hydro.coordinator.ownership.allocation import AllocationStorage
from hydro.coordinator.ownership.membership import Membership
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.quotas import Quotas, ReportRates
from hydro.coordinator.reconcile.ask import ask
from hydro.coordinator.reconcile.backoff import Backoff
from hydro.coordinator.reconcile.execute import execute
from hydro.coordinator.reconcile.expire import Expiry, dissolve
from hydro.coordinator.reconcile.finish import finish
from hydro.coordinator.reconcile.loop import Step, reconcile
from hydro.coordinator.reconcile.patience import Patience
from hydro.coordinator.reconcile.plan import plan
from hydro.coordinator.reconcile.prepare import Preparation
from hydro.coordinator.reconcile.reclaim import Reclaiming
from hydro.coordinator.reconcile.slots import follow_slots
from hydro.coordinator.reconcile.warm import Warming
from hydro.coordinator.replaying import Replays
from hydro.coordinator.reporting import Reporting
from hydro.coordinator.search.search_pool import SearchPool
from hydro.coordinator.server.device_servicer import DeviceServicer
from hydro.coordinator.server.forwarding import Forwarding
from hydro.coordinator.server.study_servicer import StudyServicer
from hydro.coordinator.server.worker_servicer import WorkerServicer
from hydro.coordinator.settings import CoordinatorSettings
from hydro.coordinator.squeezer_client import SqueezerClient
from hydro.coordinator.storage.postgres_driven import PostgresDriven
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.studies import Studies
from hydro.coordinator.targets import Targets
from hydro.coordinator.tuner_client import TunerClient
from hydro.coordinator.watching import Watches
from hydro.kit.channel import open_channel
from hydro.kit.clock import SystemClock
from hydro.kit.logging import configure_logging
from hydro.kit.server import serve

SERVICE_NAMES = tuple(
    f"hydro.api.coordinator.v1.{service}" for service in ("StudyService", "WorkerService", "DeviceService")
)


class Coordinator:
    """Everything of one coordinator process, put together."""

    def __init__(self, settings: CoordinatorSettings, storage: PostgresStorage) -> None:
        self.settings = settings
        self.storage = storage
        self.changed, self.clock, self.pruners = Bell(), SystemClock(), Pruners()
        self.bell = Bell(also=self.changed)
        address = settings.peer_address or _peer_address(settings)
        self.membership = Membership(storage, self.clock, uuid.uuid4().hex, address, settings.ownership_seconds)
        self.forwarding = Forwarding(storage, address)
        self.allocation = AllocationStorage(storage, self.membership, self.clock)
        self.search = SearchPool(settings.search_processes)
        self.lines = Lines(self.search)
        self.tuner = TunerClient(open_channel(settings.tuner_address), settings.max_lanes)
        self.squeezers = [SqueezerClient(open_channel(each), each) for each in settings.squeezer_addresses]
        self.asking = Asking(self.allocation, self.search, self.bell)
        self.leasing = Leasing(
            self.allocation, self.pruners, self.bell, self.clock, self.squeezers, settings.lease_seconds
        )
        quotas = Quotas(settings.quotas)
        rates = ReportRates(quotas, self.clock)
        self.reporting = Reporting(
            self.allocation, self.pruners, self.bell, settings.lease_seconds, self.asking.ask, rates
        )
        self.driven_storage = PostgresDriven(settings.database_url)
        self.commit = GroupCommit(self.driven_storage, settings.max_waiting_calls)
        self.hot = HotStudies(
            self.driven_storage, self.commit, self.clock, self.membership.id, lambda: self.membership.term
        )
        self.studies = Studies(storage, self.hot, self.pruners, self.bell, quotas)
        self.targets = Targets(self.allocation, self.tuner, self.bell)
        callers = Callers(self.clock)
        self.driven = DrivenTrials(storage, self.hot, self.commit, self.lines, self.bell, self.changed, rates, callers)
        self.lost_callers = LostCallers(storage, self.hot, callers, self.bell, self.clock)
        self.devices = Devices(storage, self.bell)
        self.executor = LocalExecutor(
            settings.log_directory, {"HYDRO_COORDINATOR_ADDRESS": settings.worker_address or _reachable(settings)}
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the services to the server."""
        settings, watches = self.settings, Watches(self.storage, self.changed, self.clock)
        replays = Replays(self.storage, self.search)
        study_service_pb2_grpc.add_StudyServiceServicer_to_server(
            StudyServicer(self.storage, watches, self.studies, self.targets, self.driven, replays), server
        )
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(
            WorkerServicer(self.leasing, self.reporting, settings.artifact_uri, settings.checkpoint_interval_seconds),
            server,
        )
        device_service_pb2_grpc.add_DeviceServiceServicer_to_server(DeviceServicer(self.devices), server)

    async def run(self) -> None:
        """Allocates whenever nobody else does, for ever. When it ends, others may take over what it owns at once."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.membership.keep())
                group.create_task(self.lost_callers.keep())
                group.create_task(self._allocate())
        finally:
            self.forwarding.leave()
            # Before the membership ends: what is decided counts only for as long as that lasts.
            await self.hot.leave(self.settings.drain_seconds)
            await self.membership.leave()

    async def _allocate(self) -> None:
        while True:
            await self.allocation.acquired()
            work = asyncio.create_task(self._reconcile())
            lost = asyncio.create_task(self.allocation.lost())
            try:
                await asyncio.wait([work, lost], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                await _ended(work, lost)

    async def _reconcile(self) -> None:
        """Reconciles, and follows the squeezers. Its workers end with it."""
        await self.devices.keep_local(self.settings.local_devices())
        try:
            async with asyncio.TaskGroup() as group:
                for squeezer in self.squeezers:
                    group.create_task(follow_slots(self.allocation, squeezer, self.bell, self.clock))
                group.create_task(reconcile(self._steps(), self.bell, self.clock))
        finally:
            # While calls are still answered, so that workers can report their checkpoints and release their leases.
            await self.executor.close()

    def _steps(self) -> Mapping[str, Step]:
        storage, bell, clock = self.allocation, self.bell, self.clock
        patience, backoff = Patience(clock, self.settings.patience_seconds), Backoff(clock)
        lease_seconds = self.settings.lease_seconds

        def has_worker(device: Device) -> bool:
            if device.source == REGISTERED:
                return self.leasing.has_waiting_worker(device.name)
            return backoff.may_start(str(device.name))

        return {
            "expire": Expiry(storage, self.leasing, clock).expire,
            "dissolve": partial(dissolve, storage, bell, lease_seconds, max(60.0, 4 * lease_seconds)),
            "prepare": Preparation(storage, self.tuner, bell, self.settings.artifact_uri).prepare,
            "warm": Warming(storage, self.executor, backoff).warm,
            "ask": partial(ask, storage, self.asking),
            "plan": partial(plan, storage, self.tuner, bell, patience, has_worker),
            "reclaim": Reclaiming(storage, self.leasing, clock, has_worker).step,
            "execute": partial(execute, storage, self.executor, self.leasing, backoff),
            "finish": partial(finish, storage, self.pruners, bell),
        }

    async def close(self) -> None:
        """Ends the search and the connections."""
        await self.commit.close()
        await self.lines.close()
        await self.forwarding.close()
        await self.search.close()
        await self.driven_storage.close()
        await self.storage.close()


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _reachable(settings: CoordinatorSettings) -> str:
    host, _, port = settings.listen_address.rpartition(":")
    return f"localhost:{port}" if host in ("", "0.0.0.0", "[::]") else settings.listen_address


def _peer_address(settings: CoordinatorSettings) -> str:
    # Who takes any free port says to nobody where it is.
    return "" if settings.listen_address.endswith(":0") else _reachable(settings)


async def main(settings: CoordinatorSettings) -> None:
    """Serves until it is told to stop."""
    coordinator = Coordinator(settings, await PostgresStorage.open(settings.database_url))
    try:
        await coordinator.membership.join()
        await serve(
            settings,
            coordinator.register,
            service_names=SERVICE_NAMES,
            run=coordinator.run,
            interceptors=[coordinator.forwarding],
        )
    finally:
        await coordinator.close()


if __name__ == "__main__":
    settings = CoordinatorSettings()
    configure_logging("coordinator", settings.log_level)
    asyncio.run(main(settings))
