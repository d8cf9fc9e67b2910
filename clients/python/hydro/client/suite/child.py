"""A child process: what to start, and how it dies with its parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Account:
    """The system user a child runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child process of the suite.

    `environment` is all the child gets. `is_ready` says whether it serves. `stop_signal` asks it to end; the kernel
    sends `death_signal` when the supervisor dies without having asked.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    is_ready: Callable[[], Awaitable[bool]]
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None


async def start_child(spec: ChildSpec) -> asyncio.subprocess.Process:
    """Starts the child in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Must be called on the main thread: the kernel takes the end of the starting thread for the end of the parent.

    Raises:
        OSError: the command cannot be started.
    """
    account = spec.account
    with spec.log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *spec.command,
            env=dict(spec.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/" if account else None,
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            preexec_fn=tether(spec.death_signal),
        )


def leave_forks_alone() -> None:
    """Keeps gRPC from meddling with forks, and from complaining of them; call it before the first channel is opened.

    Its handlers are for children that go on without becoming another program. Ours all do.
    """
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def tether(death_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child calls before it becomes its program, to die with its parent; None where the system cannot do it."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def hold() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before the line above.
            os._exit(1)

    return hold


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return f"(no log at {path})"
    return "\n".join(text.splitlines()[-lines:])
