"""Processes that die with what started them, however it ends: nothing is left behind.

A process ties itself with `die_with_parent`; a command that knows nothing of it is started as `tethered_command` gives
it, through this file, run by its path. A function run between fork and exec could do the same, but is safe only in a
process without threads. So that the launcher starts at once, this file imports nothing but the standard library.

The kernel's promise is for the parent *thread*: what starts tethered processes must do so on a thread that stays.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Collection, Sequence

_PR_SET_PDEATHSIG = 1
_UNCHANGED = "-"


def die_with_parent(parent: int, death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Asks the kernel to send this process a signal when its parent ends; does nothing where there is no Linux.

    Raises:
        SystemExit: the parent is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    # The parent may have ended before the kernel was asked.
    if os.getppid() != parent:
        raise SystemExit(f"process {parent}, which started this one, is gone")


def tethered_command(
    command: Sequence[str],
    *,
    death_signal: signal.Signals = signal.SIGKILL,
    account: tuple[int, int] | None = None,
    cores: Collection[int] = (),
) -> tuple[str, ...]:
    """Gives the command, run so that it dies with this process.

    Args:
        command: Program and arguments; the program by its path if the account changes.
        death_signal: What the kernel sends when this process has ended.
        account: User and group to run as, by number. None: this process's own.
        cores: What it is pinned to, as far as this machine has them; none: not pinned.
    """
    user_and_group = ",".join(map(str, account)) if account else _UNCHANGED
    pinned = ",".join(map(str, cores)) or _UNCHANGED
    launcher = (sys.executable, "-I", "-S", __file__)
    return (*launcher, str(os.getpid()), str(int(death_signal)), user_and_group, pinned, *command)


def _launch(parent: str, death_signal: str, account: str, cores: str, *command: str) -> None:
    if account != _UNCHANGED:
        user_id, group_id = _numbers(account)
        os.setgroups([])
        os.setgid(group_id)
        os.setuid(user_id)
    # After the change of account, which would undo it.
    die_with_parent(int(parent), signal.Signals(int(death_signal)))
    if sys.platform == "linux" and cores != _UNCHANGED:
        usable = os.sched_getaffinity(0).intersection(_numbers(cores))
        if usable:
            os.sched_setaffinity(0, usable)
    os.execvp(command[0], command)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    _launch(*sys.argv[1:])
