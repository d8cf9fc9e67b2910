"""A child process: what to start, and how it dies with its parent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hydro.kit.parent import tethered_command


class Account(NamedTuple):
    """The system user a child runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child process of the suite.

    `environment` is all the child gets. `is_ready` says whether it serves. `stop_signal` asks it to end; the kernel
    sends `death_signal` when the supervisor dies without having asked. `prepare` is called before its first start, on
    a thread of its own.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    is_ready: Callable[[], Awaitable[bool]]
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None
    prepare: Callable[[], None] | None = None


async def start_child(spec: ChildSpec) -> asyncio.subprocess.Process:
    """Starts the child in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Must be called on the main thread: the kernel takes the end of the starting thread for the end of the parent.

    Raises:
        OSError: this Python cannot be started. A command that cannot be is told of in the child's log.
    """
    with spec.log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *tethered_command(spec.command, death_signal=spec.death_signal, account=spec.account),
            env=dict(spec.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/" if spec.account else None,
            start_new_session=True,
        )


def log_tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log, for an error message."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return f"(no log at {path})"
    return "\n".join(text.splitlines()[-lines:])
