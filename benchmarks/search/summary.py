"""From regrets to the figures that the contract names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from statistics import fmean
from typing import Any

KEYS = ("worst_regret_ratio_vs_optuna", "worst_regret_ratio_lower_95")
DRAWS = 2_000
Row = Mapping[str, Any]


def empty_summary() -> dict[str, float | None]:
    """What a run gives that measures nothing."""
    return dict.fromkeys(KEYS)


def log_ratios(row: Row) -> list[float]:
    """The logarithm of our regret over Optuna's, by seed. Regrets below the row's resolution are the same."""
    resolution = row["resolution"]
    pairs = zip(row["regrets"], row["optuna_regrets"], strict=True)
    return [math.log((ours + resolution) / (theirs + resolution)) for ours, theirs in pairs]


def summarize(rows: Sequence[Row]) -> dict[str, float | None]:
    """The worst of sampler and parallelism, each the geometric mean over subjects (and paired seeds) of the ratio."""
    groups: dict[tuple[str, int], list[list[float]]] = {}
    for row in rows:
        groups.setdefault((row["sampler"], row["parallelism"]), []).append(log_ratios(row))
    worst = max(groups.values(), key=_mean)
    low, _ = _interval(worst)
    return dict(zip(KEYS, (math.exp(_mean(worst)), math.exp(low)), strict=True))


def ratio_with_interval(row: Row) -> tuple[float, float, float]:
    """One subject's ratio, and its interval of 95 %."""
    logs = [log_ratios(row)]
    low, high = _interval(logs)
    return math.exp(_mean(logs)), math.exp(low), math.exp(high)


def _mean(by_subject: Sequence[Sequence[float]]) -> float:
    return fmean(fmean(each) for each in by_subject)


def _interval(by_subject: Sequence[Sequence[float]]) -> tuple[float, float]:
    """By bootstrap over the seeds, which all subjects of a draw share."""
    random, seeds = Random(0), range(len(by_subject[0]))
    drawn = []
    for _ in range(DRAWS):
        chosen = random.choices(seeds, k=len(seeds))
        drawn.append(fmean(fmean(each[index] for index in chosen) for each in by_subject))
    drawn.sort()
    return drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS) - 1]
