"""What went wrong in the user's own code, told with the user's own lines."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

LAST_FRAMES = 5
"""Lines of the user's code that a failure quotes, the innermost ones."""

_NOT_USER_CODE = tuple(
    str(folder)
    for folder in (Path(torch.__file__).parent, Path(__file__).parents[1], Path(sysconfig.get_path("stdlib")))
)


class TaskFailed(RuntimeError):
    """The task cannot be tuned: the message says what it did, and where."""


@contextmanager
def attributed_to_task(doing: str) -> Iterator[None]:
    """Whatever is raised inside is the task's failure, while it was `doing` something.

    Raises:
        TaskFailed: with the error, and the innermost lines of the user's code.
    """
    try:
        yield
    except TaskFailed:
        raise
    except Exception as error:
        raise TaskFailed(f"{doing}, the task raised {_told(error)}") from error


def _told(error: Exception) -> str:
    message = "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_foreign(frame.filename)]
    return "\n".join([message, *(line.rstrip() for line in traceback.format_list(frames[-LAST_FRAMES:]))])


def _is_foreign(path: str) -> bool:
    return path.startswith("<") or path.startswith(_NOT_USER_CODE)
