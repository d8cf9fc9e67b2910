"""The figures of a surrogate's checks, as they leave the build: what a picture is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class SlopeFigure:
    """How one layer's output changes with the width: its exponent, with a 95 % interval."""

    layer: str
    slope: float
    half_width: float
    verdict: str
    """pass, warn or fail"""


@dataclass(frozen=True, slots=True)
class RungFigure:
    """One width of the ladder."""

    width: float
    best_lr_log2: float
    losses: tuple[tuple[float, float], ...]
    """Log2 lr and the mean validation loss, rising; rates that diverged are left out."""


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """All of them; empty where a check did not run."""

    slopes: tuple[SlopeFigure, ...] = ()
    rungs: tuple[RungFigure, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Reads what `dataclasses.asdict` and JSON made of it."""
        rungs = (
            RungFigure(each["width"], each["best_lr_log2"], tuple((rate, loss) for rate, loss in each["losses"]))
            for each in fields["rungs"]
        )
        return cls(tuple(SlopeFigure(**each) for each in fields["slopes"]), tuple(rungs))
