"""The worker's loop: acquire a lease, train its bundle, release it, acquire another."""

from __future__ import annotations

import math
import os
import threading
import time
import traceback
import uuid

import structlog
import torch

from hydro.client.commands import Command
from hydro.kit.errors import DeadlineExceeded, FailedPrecondition, HydroError, NotFound, Unavailable
from hydro.squeezer.gate import GateLost
from hydro.tuner.training.out_of_memory import free_unused
from hydro.worker.attempt import Attempt
from hydro.worker.bundle import BundleBuilder, MemoryLessons
from hydro.worker.command.attempt import CommandAttempt
from hydro.worker.command.bubble_mover import BubbleMover
from hydro.worker.coordinator import Coordinator
from hydro.worker.device import ExclusiveDevice, Slot, Workplace, use_threads
from hydro.worker.lease import LeaseKeeper, LeaseLost
from hydro.worker.own_device import own_device
from hydro.worker.recipe import Grant
from hydro.worker.reporter import Reporter
from hydro.worker.settings import WorkerSettings

_ACQUIRE_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_FAILURE_CHARACTERS = 16_000


class Worker:
    """Works for one device until there is nothing to do, or it is told to stop."""

    def __init__(
        self, settings: WorkerSettings, coordinator: Coordinator, device: torch.device, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._device = device
        self._stopping = stopping
        self._is_registered = False
        self._lessons = MemoryLessons()
        self._threads = torch.get_num_threads()
        self._name = f"{os.uname().nodename}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._log = structlog.get_logger().bind(device=settings.worker_device, worker=self._name)

    def run(self) -> None:
        """Returns when it is told to stop, or, on a device that it does not bring itself, when there is no work.

        Raises:
            HydroError: The coordinator refuses to give work to this device.
        """
        idle_since = time.monotonic()
        request_id = str(uuid.uuid4())
        while not self._stopping.is_set():
            grant = self._acquire(request_id)
            if grant is not None:
                self.work(grant)
                idle_since, request_id = time.monotonic(), str(uuid.uuid4())
            elif time.monotonic() - idle_since >= self._idle_seconds:
                self._log.info("no work: the worker ends")
                return

    @property
    def _idle_seconds(self) -> float:
        return math.inf if self._settings.worker_register else self._settings.worker_idle_seconds

    def _acquire(self, request_id: str) -> Grant | None:
        try:
            self._register()
            # The same request until it is answered with a lease: an answer that was lost is given again.
            wait_seconds = min(_ACQUIRE_SECONDS, self._idle_seconds)
            return self._coordinator.acquire(self._settings.worker_device, self._name, request_id, wait_seconds)
        except NotFound:
            if not self._settings.worker_register:
                raise
            # The database is another one than before.
            self._is_registered = False
        except (Unavailable, DeadlineExceeded) as error:
            self._log.info("the coordinator does not answer", error=str(error))
        self._stopping.wait(_RETRY_SECONDS)
        return None

    def _register(self) -> None:
        if self._settings.worker_register and not self._is_registered:
            device = own_device(self._settings, self._device)
            self._coordinator.register(device)
            self._is_registered = True
            self._log.info("device registered", memory_bytes=device.memory_bytes, model=device.model)

    def work(self, grant: Grant) -> None:
        """Trains one bundle and releases its lease, whatever happens to it."""
        log = self._log.bind(lease=grant.name, lanes=len(grant.recipe.lanes))
        log.info("bundle starts")
        failure, failure_reason = "", ""
        with LeaseKeeper(self._coordinator, grant) as keeper:
            try:
                self._train(grant, keeper)
            except LeaseLost:
                return
            except GateLost as error:
                log.warning("slot lost", reason=str(error))
            except HydroError as error:
                failure, failure_reason = str(error), error.reason if error.reason == "TASK_CHANGED" else ""
            except Exception as error:  # noqa: BLE001 - the task's code may raise anything
                failure = f"{type(error).__name__}: {error}\n{traceback.format_exc()[-_FAILURE_CHARACTERS:]}"
            log.info("bundle ends", failure=failure or None)
            # This process may live on for long: what it does not use is the device's again.
            free_unused(self._device)
            self._release(grant, keeper, failure, failure_reason)

    def _train(self, grant: Grant, keeper: LeaseKeeper) -> None:
        if grant.recipe.command is not None:
            self._run_programs(grant, grant.recipe.command, keeper)
            return
        workplace = self._workplace(grant, keeper)
        reporter = Reporter(self._coordinator.reports(grant), keeper, workplace.worked_seconds)
        if self._device.type == "cpu":
            use_threads(grant.recipe.threads, self._threads)
        builder = BundleBuilder(grant.recipe, workplace.gate, self._device, self._lessons)
        try:
            Attempt(grant, keeper, reporter, workplace, builder, self._stopping.is_set).run()
        finally:
            reporter.close()
            workplace.leave()

    def _workplace(self, grant: Grant, keeper: LeaseKeeper) -> Workplace:
        if not grant.gate:
            return ExclusiveDevice()
        return Slot(
            self._settings, grant.gate, self._device, lambda: self._stopping.is_set() or keeper.release_requested
        )

    def _run_programs(self, grant: Grant, command: Command, keeper: LeaseKeeper) -> None:
        workplace, mover = self._program_place(grant, command)
        reporter = Reporter(self._coordinator.reports(grant), keeper, workplace.worked_seconds)
        try:
            CommandAttempt(grant, command, keeper, reporter, self._stopping.is_set, os.environ, mover).run()
        finally:
            reporter.close()
            if mover is not None:
                mover.wait()
            workplace.leave()

    def _program_place(self, grant: Grant, command: Command) -> tuple[Workplace, BubbleMover | None]:
        """A program that is asked to end still runs in bubbles alone, so that nothing interrupts the wait for one."""
        if not grant.gate:
            return ExclusiveDevice(), None
        if command.in_bubbles is None:
            raise FailedPrecondition(f"{grant.name} is of a slot, and the command has no in_bubbles: it knows no gate")
        slot = Slot(self._settings, grant.gate, self._device)
        return slot, BubbleMover(slot.worker_gate, command.in_bubbles)

    def _release(self, grant: Grant, keeper: LeaseKeeper, failure: str, failure_reason: str) -> None:
        try:
            keeper.insist(lambda: self._coordinator.release(grant, failure, failure_reason))
        except LeaseLost:
            return
