"""The search process: answers requests from its standard input until it is closed."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from typing import Any, BinaryIO

from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.search_backend import SearchBackend
from hydro.coordinator.search.wire import pack, read_frame


def main() -> None:
    """Serves until the coordinator closes the pipe or dies."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with the answers
    serve(OptunaBackend(), sys.stdin.buffer, answers)


def serve(backend: SearchBackend, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers one request after the other with (suggestions, None) or (None, what failed)."""
    while True:
        try:
            request = read_frame(requests)
        except EOFError:
            return
        answers.write(pack(answer(backend, request)))
        answers.flush()


def answer(backend: SearchBackend, request: Any) -> tuple[Any, str | None]:
    """The answer to one request. A failing one must not take the process, and so the others, with it."""
    try:
        return asyncio.run(backend.ask(request)), None
    except Exception:  # noqa: BLE001  the edge of the loop: the caller logs it
        return None, traceback.format_exc()


if __name__ == "__main__":
    main()
