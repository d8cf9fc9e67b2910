"""Processes and what they started, as Linux tells of them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


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
