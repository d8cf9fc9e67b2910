"""Work that gives way to everything else on its cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def idle_priority(work: Callable[[], _Result]) -> _Result:
    """Runs work in a thread of the idle scheduling class: it gives way to every other process on its cores.

    A thread of its own, since only root may leave that class again.
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="aside")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
