"""Runs a program, and stays until nothing that it has started is left.

Run by its path, between the worker and the program. Its standard input is the worker's lifeline: a byte asks the
program to end (SIGTERM to its process group), and the line's end, as when the worker was killed, is the end of all.
What the program starts cannot get away: orphans become this process's children (PR_SET_CHILD_SUBREAPER), whatever
session or process group they have made. If this process itself is killed, the kernel kills the program
(PR_SET_PDEATHSIG).

Arguments: a descriptor to hold open until the end, and for nobody else (a lock); one to write the program's process
group to, which is then started stopped (-1: it runs at once); the number of words of a command to run after the end
(0: none), its words; the program and its arguments.

So that it starts at once, it imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLEANUP_SECONDS = 30.0
_LOOK_SECONDS = 0.005
NOT_FOUND, NOT_RUNNABLE = 127, 126
"""Exit codes, as of a shell: there is no such program; it cannot be run."""


def main(lock: str, told: str, words: str, *arguments: str) -> int:
    """Gives the program's exit code: 128 and its number for a signal."""
    cleanup, command = arguments[: int(words)], arguments[int(words) :]
    os.set_inheritable(int(lock), False)
    is_held = int(told) >= 0
    if is_held:
        os.set_inheritable(int(told), False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wakeups, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking)
    # The worker's death may come as a signal, before the lifeline ends.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    program = _start(command, is_held=is_held)
    if is_held:
        _tell_when_stopped(program, int(told))
    code = _watch(program, wakeups)
    _end_all()
    if cleanup:
        subprocess.run(cleanup, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_CLEANUP_SECONDS)
    return code


def _start(command: Sequence[str], *, is_held: bool) -> int:
    guard, program = os.getpid(), os.fork()
    if program:
        return program
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if is_held:
            os.kill(os.getpid(), signal.SIGSTOP)
        if os.getppid() == guard:
            os.execvp(command[0], list(command))
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error}\n")
        sys.stderr.flush()
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE)
    os._exit(NOT_RUNNABLE)


def _tell_when_stopped(program: int, told: int) -> None:
    """Says which group it is once a signal can no longer come too early for it."""
    os.waitid(os.P_PID, program, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    os.write(told, str(program).encode())
    os.close(told)


def _watch(program: int, wakeups: int) -> int:
    """Returns when the program has ended, or must."""
    while True:
        ready, _, _ = select.select([0, wakeups], [], [])
        if wakeups in ready and signal.SIGTERM in os.read(wakeups, 64):
            return 128 + signal.SIGKILL
        code = _reap(program)
        if code is not None:
            return code
        if 0 in ready:
            if not os.read(0, 64):
                return 128 + signal.SIGKILL
            _ask_to_end(program)


def _ask_to_end(program: int) -> None:
    try:
        os.killpg(program, signal.SIGTERM)
    except ProcessLookupError:
        # It has not made its process group yet, or has ended.
        os.kill(program, signal.SIGTERM)


def _reap(program: int) -> int | None:
    """Buries what has ended; gives the program's exit code if it has."""
    found = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        if process == program:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _end_all() -> None:
    """Kills whatever has come of the program, until there is nothing."""
    while True:
        for process in _descendants():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(_LOOK_SECONDS)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The second field is the program's name in brackets, and may hold anything.
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, look = [], [os.getpid()]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
