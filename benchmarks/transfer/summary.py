"""Rows, and the figures that the contract names: ours at the smallest width, the worst of the subjects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, median
from typing import Any

from benchmarks.transfer.curves import Curves, drift, measured_regret, regret
from benchmarks.transfer.runs import Arm, Model
from hydro.tuner.shrinking.confidence import Interval

Row = dict[str, Any]
FIGURES = ("max_regret", "median_abs_drift_octaves", "max_abs_drift_octaves", "divergences")


def target_row(model: Model, curves: Curves) -> Row:
    """The target alone."""
    return _row(model, curves) | {"arm": "target"}


def surrogate_row(model: Model, curves: Curves, target: Curves) -> Row:
    """A narrow model against the target."""
    chosen = target.nearest(curves.best())
    return _row(model, curves) | {
        "arm": model.arm.value,
        "drift_octaves": _plain(drift(curves, target)),
        "regret": _plain(regret(curves, target)),
        "measured_regret": _plain(measured_regret(curves, target)),
        "divergences": target.diverged(chosen),
        "target_losses": {str(seed): target.loss(seed, chosen) for seed in target.seeds},
    }


def summarize(rows: Sequence[Row]) -> dict[str, float | None]:
    """The worst over subjects; ends of intervals, where there is one, and no midpoints."""
    smallest = min(row["width"] for row in rows)
    own = [row for row in rows if row["arm"] == Arm.OURS.value and row["width"] == smallest]
    drifts = [row["drift_octaves"] for row in own]
    return {
        "max_regret": max(row["regret"]["high"] for row in own),
        "median_abs_drift_octaves": median(abs(each["mean"]) for each in drifts),
        "max_abs_drift_octaves": max(abs(each[end]) for each in drifts for end in ("low", "high")),
        "divergences": sum(row["divergences"] for row in own),
    }


def line(row: Row) -> str:
    """A row for people."""
    text = f"{row['subject']:18s} {row['arm']:8s} {row['width']:.4g}: best lr 2^{row['best_lr_log2']:.2f}"
    text += f", loss {row['best_loss']:.4f}"
    if row["arm"] == "target":
        return text
    drifts, losses = row["drift_octaves"], row["regret"]
    return (
        f"{text}; drift {drifts['mean']:+.2f} [{drifts['low']:+.2f}, {drifts['high']:+.2f}] octaves, regret "
        f"{losses['mean']:+.2%} [{losses['low']:+.2%}, {losses['high']:+.2%}], {row['divergences']} diverged"
    )


def _row(model: Model, curves: Curves) -> Row:
    mean = curves.mean()
    best = curves.best()
    own = curves.nearest(best)
    return {
        "subject": model.subject.name,
        "width": model.width,
        "built_width": round(model.width * model.subject.target_width),
        "seeds": len(curves.seeds),
        "steps": model.subject.steps,
        "best_lr_log2": best,
        "best_lr_log2_without_seed": {str(seed): curves.best_without(seed) for seed in curves.seeds},
        "best_loss": mean[own],
        "best_loss_std": _std([curves.loss(seed, own) for seed in curves.seeds]),
        "losses": {str(exponent): loss for exponent, loss in mean.items()},
    }


def _std(values: Sequence[float]) -> float:
    middle = fmean(values)
    return math.sqrt(fmean((value - middle) ** 2 for value in values))


def _plain(interval: Interval) -> dict[str, float]:
    return asdict(interval)
