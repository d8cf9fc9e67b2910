"""Runs the steps again and again: at every change, and once a second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from prometheus_client import Counter

from hydro.coordinator.bell import Bell
from hydro.kit.clock import Clock
from hydro.kit.errors import HydroError

_log = structlog.get_logger()
_FAILURES = Counter("hydro_reconcile_failures", "Steps of the reconcile loop that failed", ["step"])
PAUSE_SECONDS = 0.05
IDLE_SHARE = 4
"""A round is followed by a pause of so many times its length: else frequent reports keep a core busy with rounds."""
LONGEST_CALM_SECONDS = 0.3
LONGEST_PAUSE_SECONDS = 1.0

Step = Callable[[], Awaitable[None]]


async def reconcile(steps: Mapping[str, Step], bell: Bell, clock: Clock) -> None:
    """Runs the steps in their order, for ever. A step that fails is run again in the next round."""
    while True:
        ticket, start = bell.ticket(), clock.monotonic()
        for name, step in steps.items():
            await run_step(name, step)
        # Changes come in flocks: what came in this pause is dealt with in one round.
        calm_seconds = IDLE_SHARE * (clock.monotonic() - start)
        await clock.sleep(min(LONGEST_CALM_SECONDS, max(PAUSE_SECONDS, calm_seconds)))
        await bell.wait(ticket, LONGEST_PAUSE_SECONDS)


async def run_step(name: str, step: Step) -> None:
    """Runs one step; its failure is logged and counted."""
    try:
        await step()
    except HydroError as error:
        _FAILURES.labels(name).inc()
        _log.warning("step failed", step=name, reason=error.reason, error=error.message)
    except Exception:  # noqa: BLE001 one step's fault must not stop the others
        _FAILURES.labels(name).inc()
        _log.exception("step failed", step=name)
