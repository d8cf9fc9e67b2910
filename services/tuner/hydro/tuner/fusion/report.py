"""Which ops of a model run how over lanes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum


class Tier(Enum):
    """How an op runs over lanes, best first."""

    SHARED = "shared"
    """Once: no lane differs."""
    GROUPED = "grouped"
    """One kernel for all lanes, by the rule of its room."""
    VMAPPED = "vmapped"
    """`torch.vmap` of the one op."""
    UNROLLED = "unrolled"
    """Lane after lane."""
    SEPARATE = "separate"
    """The whole model is not fused."""


@dataclass(frozen=True, slots=True)
class OpRun:
    """One op call of the traced model."""

    op: str
    tier: Tier
    location: str
    """The user's line ("digits.py:12"), "" when it is not known."""


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Every op call of a program with its tier."""

    runs: tuple[OpRun, ...]
    reason: str = ""
    """Why the model is not fused, "" when it is."""

    def tiers(self) -> dict[str, Tier]:
        """Gives each op's worst tier."""
        order = list(Tier)
        worst: dict[str, Tier] = {}
        for run in self.runs:
            known = worst.get(run.op, run.tier)
            worst[run.op] = max(known, run.tier, key=order.index)
        return worst

    def count(self, tier: Tier) -> int:
        """Gives the number of op calls in a tier."""
        return sum(run.tier is tier for run in self.runs)

    @property
    def grouped_share(self) -> float:
        """The part of the op calls, of those that differ among lanes, which run as one grouped kernel."""
        differing = len(self.runs) - self.count(Tier.SHARED)
        return self.count(Tier.GROUPED) / differing if differing else 1.0

    def __str__(self) -> str:
        counts = Counter((run.op, run.tier) for run in self.runs)
        width = max((len(op) for op, _ in counts), default=0)
        lines = [f"{op:<{width}}  {tier.value:<8}  {count}" for (op, tier), count in sorted(counts.items(), key=_rank)]
        lines += [
            f"not grouped: {run.op} at {run.location or 'unknown line'}, {run.tier.value}" for run in self._slow()
        ]
        return "\n".join([*lines, f"not fused: {self.reason}"] if self.reason else lines)

    def _slow(self) -> list[OpRun]:
        return [run for run in dict.fromkeys(self.runs) if run.tier in (Tier.VMAPPED, Tier.UNROLLED)]


def _rank(entry: tuple[tuple[str, Tier], int]) -> tuple[int, str]:
    (op, tier), _ = entry
    return list(Tier).index(tier), op
