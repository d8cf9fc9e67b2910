"""The coordinator, killed at a named point of a commit: python crashing_coordinator.py POINT NUMBER.

Nothing in the product knows of it: the entry point wraps what the coordinator is put together from.
"""

import asyncio
import os
import signal
import sys

from hydro.coordinator import __main__ as program
from hydro.coordinator.hot.group_commit import GroupCommit
from hydro.coordinator.settings import CoordinatorSettings
from hydro.coordinator.storage.postgres_driven import PostgresDriven

POINTS = ("before_commit", "after_commit", "before_ack", "after_ack")


def main(point: str, number: int) -> None:
    """Runs the coordinator, and kills it at the point of its commit of this number."""
    write, commit = PostgresDriven.write, GroupCommit._write
    count = 0

    def reach(here: str) -> None:
        if here == point and count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    async def writing(self, changes):
        nonlocal count
        count += 1
        reach("before_commit")
        committed = await write(self, changes)
        reach("after_commit")
        return committed

    async def committing(self, parts):
        await commit(self, parts)
        # Those who waited are told, but no answer has been sent yet.
        reach("before_ack")
        if point == "after_ack" and count == number:
            # By then what they were told has left the process.
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGKILL)

    PostgresDriven.write, GroupCommit._write = writing, committing
    settings = CoordinatorSettings()
    asyncio.run(program.main(settings))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
