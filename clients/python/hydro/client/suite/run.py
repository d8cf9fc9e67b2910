"""Runs the suite until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hydro.client.suite.plan import SuitePlan, children, plan_suite, remove_folders
from hydro.client.suite.ports import Addresses
from hydro.client.suite.settings import SuiteSettings
from hydro.client.suite.supervisor import Listener, Supervisor
from hydro.kit.clock import SystemClock
from hydro.kit.errors import FailedPrecondition


def run_suite(
    settings: SuiteSettings,
    addresses: Addresses,
    *,
    on_ready: Callable[[SuitePlan], None],
    listener: Listener,
    until_stdin_closes: bool = False,
    temporary: bool = False,
) -> None:
    """Starts the suite, keeps it running until SIGINT or SIGTERM, and stops it.

    Args:
        settings: Where its data is.
        addresses: Where its services listen.
        on_ready: Called once all services serve.
        listener: Told of each start, death and restart.
        until_stdin_closes: Ends also with standard input: with the process that holds its other end.
        temporary: Removes all data at the end.

    Raises:
        FailedPrecondition: the data folder is in use by another suite, or Postgres cannot be started here.
        Unavailable: a service does not start.
    """
    with _locked(settings.data_directory):
        plan = plan_suite(settings, addresses)
        try:
            asyncio.run(_run(plan, on_ready, listener, until_stdin_closes))
        finally:
            if temporary:
                remove_folders(plan)


async def _run(
    plan: SuitePlan, on_ready: Callable[[SuitePlan], None], listener: Listener, until_stdin_closes: bool
) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if until_stdin_closes:
        _stop_with_stdin(stop)
    supervisor = Supervisor(children(plan, os.environ), SystemClock(), listener)
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set() and not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    await starting
    on_ready(plan)
    await stopping
    await supervisor.stop()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)


def _stop_with_stdin(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), read)


@contextlib.contextmanager
def _locked(data_directory: Path) -> Iterator[None]:
    """Holds the folder for one suite alone; the system lets go of it when the process ends, however it ends."""
    _make(data_directory)
    with (data_directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPrecondition(
                f"another suite runs in {data_directory}: stop it, or set HYDRO_DATA_DIRECTORY to another folder"
            ) from None
        yield


def _make(data_directory: Path) -> None:
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPrecondition(
            f"HYDRO_DATA_DIRECTORY: {data_directory} cannot be made: {error.strerror}; set it to a folder of yours"
        ) from error
