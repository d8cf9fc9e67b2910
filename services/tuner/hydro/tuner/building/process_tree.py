"""Processes and what they started, as Linux tells of them; and the promise to die with one's parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends, however it ends.

    Raises:
        SystemExit: the parent is gone already.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the kernel was asked.
    if os.getppid() != parent:
        raise SystemExit(f"process {parent}, which started this one, is gone")


def resident_bytes(process: int) -> int:
    """Gives the resident memory of a process and of all it started; 0 when it is gone."""
    return sum(_resident_bytes(each) for each in _tree(process))


def kill_group(leader: int) -> None:
    """Kills a process group, if there is one."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _tree(process: int) -> Iterator[int]:
    yield process
    try:
        children = "".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children"))
    except OSError:
        return
    for child in children.split():
        yield from _tree(int(child))


def _resident_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0
