"""The figures that the contract names, from the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.fusion.variants import ADAMW, SGD
from benchmarks.fusion.workloads import TINY

TINY_LANES = 64

KEYS = (
    "tiny_speedup_vs_separate_sgd",
    "tiny_speedup_vs_separate_adamw",
    "tiny_speedup_vs_vmap_sgd",
    "tiny_speedup_vs_vmap_adamw",
    "min_planned_vs_best",
    "optimizer_step_vs_separate",
)


def empty_summary() -> dict[str, float | None]:
    """Gives every key, nothing measured."""
    return dict.fromkeys(KEYS)


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Gives each figure's median, the worst one where there are several."""
    steps = [row for row in rows if row["what"] == "step"]
    updates = [row for row in rows if row["what"] == "optimizer"]
    summary = empty_summary()
    for optimizer in (SGD, ADAMW):
        tiny = [row for row in steps if (row["model"], row["lanes"], row["optimizer"]) == (TINY, TINY_LANES, optimizer)]
        for peer in ("separate", "vmap"):
            key = f"tiny_speedup_vs_{peer}_{optimizer.lower()}"
            summary[key] = min((row[f"fused_speedup_vs_{peer}"]["median"] for row in tiny), default=None)
    summary["min_planned_vs_best"] = min((row["planned_vs_best"]["median"] for row in steps), default=None)
    summary["optimizer_step_vs_separate"] = max((row["fused_over_separate"]["median"] for row in updates), default=None)
    return summary
