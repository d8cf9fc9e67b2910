"""Becomes a worker that dies with what started it: `launch.py PARENT CORES COMMAND...`, run as a file by path.

Kept free of imports from Hydro: it is gone as soon as the command runs in its place.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, cores: list[int], command: list[str]) -> None:
    """Has the kernel kill this process with its parent, pins it to the cores (none: not pinned), and runs the command.

    The kernel's promise is for the parent thread: what starts workers must do so from a thread that stays.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the promise was made
            sys.exit(1)
        usable = os.sched_getaffinity(0).intersection(cores)
        if usable:
            os.sched_setaffinity(0, usable)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",") if core], sys.argv[3:])
