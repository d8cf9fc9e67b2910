"""What the squeezer did, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydro.squeezer.gatekeeper import GateReport


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums and means over the stages that are attached.

    Units: seconds where the name says so; slowdown and budget are shares of 1.
    """

    steps: int
    bubbles: int
    gates_opened: int
    events_dropped: int
    blank_step_seconds: float
    squeezed_step_seconds: float
    slowdown: float
    slowdown_budget: float
    bubble_seconds: float
    open_seconds: float
    used_seconds: float
    breaker_trips: int


def summarize(reports: Sequence[GateReport], slowdown_budget: float) -> Statistics:
    """Adds up what the gates of all stages did; the slowdown is 0 until there are steps of both kinds."""
    totals = [each.totals for each in reports]
    blank = _mean_seconds(sum(each.blank_ns for each in totals), sum(each.blank_steps for each in totals))
    squeezed = _mean_seconds(sum(each.squeezed_ns for each in totals), sum(each.squeezed_steps for each in totals))
    return Statistics(
        steps=sum(each.steps for each in totals),
        bubbles=sum(each.bubbles for each in totals),
        gates_opened=sum(each.gates_opened for each in totals),
        events_dropped=sum(each.events_dropped for each in reports),
        blank_step_seconds=blank,
        squeezed_step_seconds=squeezed,
        slowdown=squeezed / blank - 1 if blank and squeezed else 0.0,
        slowdown_budget=slowdown_budget,
        bubble_seconds=sum(each.bubble_ns for each in totals) / 1e9,
        open_seconds=sum(each.open_ns for each in totals) / 1e9,
        used_seconds=sum(each.used_ns for each in reports) / 1e9,
        breaker_trips=sum(each.breaker_trips for each in reports),
    )


def _mean_seconds(total_ns: int, count: int) -> float:
    return total_ns / count / 1e9 if count else 0.0
