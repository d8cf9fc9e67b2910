"""Becomes a program that dies with its parent: `tethered.py PARENT SIGNAL USER GROUP COMMAND...`, run by its path.

The kernel sends SIGNAL when the thread that started this process ends. USER and GROUP are numbers, or "-": no change.
Kept free of imports from Hydro: it is gone as soon as the command runs in its place. A function run between fork and
exec could do the same, but is safe only in a process without threads.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, death_signal: int, user: str, group: str, command: list[str]) -> None:
    """Changes the account, ties itself to its parent, and runs the command."""
    if user != "-":
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    if sys.platform.startswith("linux"):
        # After the change of account, which would undo it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:
            # The parent died before the line above.
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
