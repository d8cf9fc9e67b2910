"""The search process: answers requests from its standard input until it is closed."""

from __future__ import annotations

import os
import sys
import traceback
from typing import BinaryIO

from hydro.coordinator.search.ledger import Update
from hydro.coordinator.search.sessions import Sessions
from hydro.coordinator.search.wire import pack, read_frame
from hydro.coordinator.trial import Value


def main() -> None:
    """Serves until the coordinator closes the pipe or dies."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the answers
    serve(Sessions(), sys.stdin.buffer, answers)


def serve(sessions: Sessions, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers one update after the other with (suggestions or None, None) or (None, what failed)."""
    while True:
        try:
            update = read_frame(requests)
        except EOFError:
            return
        answers.write(pack(answer(sessions, update)))
        answers.flush()


def answer(sessions: Sessions, update: Update) -> tuple[list[dict[str, Value]] | None, str | None]:
    """The answer to one update. A failing one must not take the process, and so the others, with it."""
    try:
        return sessions.answer(update), None
    except Exception:  # noqa: BLE001  the edge of the loop: the caller logs it
        return None, traceback.format_exc()


if __name__ == "__main__":
    main()
