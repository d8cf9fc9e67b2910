"""Why a model does not export, in one line; and what the exporter writes about it, kept from standard error."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

_LOGGERS = ("torch.fx.experimental.symbolic_shapes", "torch.export._trace")
"""They warn of what the error then says."""

_GRAPH = "def forward(self, arg"
"""How the exporter begins to print the graph that it had, once for each of its own frames."""

_OP = re.compile(r"torch\.ops\.([\w.]+)\(")


class _WithoutGraphs(io.TextIOBase):
    """Passes on what is written, but for the exporter's unfinished graphs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._was_graph = False

    def write(self, text: str) -> int:
        is_graph = text.lstrip().startswith(_GRAPH)
        # `print` writes the end of its line by itself.
        is_end = self._was_graph and text == "\n"
        self._was_graph = is_graph
        return len(text) if is_graph or is_end else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keeps the exporter's pages off standard error; what the user's code writes there goes through."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with redirect_stderr(_WithoutGraphs(sys.stderr)):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def export_failure(error: BaseException) -> str:
    """Tells why the exporter gave up: the op whose value it lacks, where it knows it, and what it says first."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    ops = _OP.findall(str(getattr(error, "partial_fx_graph", "")))
    return f"what {ops[-1]} gives decides what runs: {said}" if ops else said
