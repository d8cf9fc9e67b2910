"""The work that every system does, and what is written down of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

REPORTS = 10
OPERATIONS = REPORTS + 2
"""Of one trial: ask, reports with a pruning decision each, tell."""
STARTUP_TRIALS = 5
"""The median pruner's: Optuna's default, and so everybody's."""

Space = dict[str, tuple[str, Any]]
THREE_PARAMETERS: Space = {
    "lr": ("log_float", (1e-5, 1e-1)),
    "layers": ("int", (1, 16)),
    "optimizer": ("choice", ("sgd", "adam", "lamb")),
}
SIX_PARAMETERS: Space = {
    **THREE_PARAMETERS,
    "weight_decay": ("log_float", (1e-6, 1e-2)),
    "momentum": ("float", (0.0, 0.99)),
    "activation": ("choice", ("relu", "gelu")),
}


class Client(Protocol):
    """One client of a system, with one open trial at a time."""

    async def ask(self) -> None:
        """Gets a new trial with its hyperparameters."""

    async def report(self, step: int, value: float) -> bool:
        """Reports a value, and gives whether the trial should be pruned."""
        ...

    async def tell(self, value: float) -> None:
        """Ends the trial."""


@dataclass(slots=True)
class Sample:
    """What one client did in one round. Units: milliseconds; operations that ended inside the window, and all."""

    ask: list[float] = field(default_factory=list)
    report: list[float] = field(default_factory=list)
    tell: list[float] = field(default_factory=list)
    inside: int = 0
    operations: int = 0


async def run(client: Client, random: Random, until: float) -> Sample:
    """Runs trials until the time of `time.monotonic`; the last one runs to its end.

    What the pruner says is asked for and not followed, so that each trial is the same work.
    """
    sample = Sample()

    async def timed(into: list[float], operation: Callable[[], Coroutine[Any, Any, object]]) -> None:
        start = time.monotonic()
        await operation()
        end = time.monotonic()
        into.append((end - start) * 1000)
        sample.operations += 1
        sample.inside += end <= until

    while time.monotonic() < until:
        await timed(sample.ask, client.ask)
        for step in range(REPORTS):
            value = random.random()
            await timed(sample.report, lambda step=step, value=value: client.report(step, value))  # type: ignore[misc]
        value = random.random()
        await timed(sample.tell, lambda value=value: client.tell(value))  # type: ignore[misc]
    return sample
