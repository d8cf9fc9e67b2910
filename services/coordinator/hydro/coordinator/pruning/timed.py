"""Rules by time: the same rules, on a scale of whole intervals of elapsed time."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import takewhile

from hydro.coordinator.pruning.clock import END
from hydro.coordinator.pruning_rules import EndingRule, PatiencePruning, SuccessiveHalvingPruning, TimedPruning


def in_intervals(rule: EndingRule, timed: TimedPruning) -> EndingRule:
    """The rule with every number of steps in intervals: it is asked in each, and its lowest rung is at the first."""
    warmup = math.ceil(timed.warmup_seconds / timed.interval_seconds)
    match rule:
        case SuccessiveHalvingPruning():
            return replace(rule, min_steps=1)
        case PatiencePruning(inner):
            waiting = None if inner is None else replace(inner, measurement_interval_steps=1, warmup_steps=warmup)
            return replace(rule, rule=waiting, measurement_interval_steps=1)
        case _:
            return replace(rule, measurement_interval_steps=1, warmup_steps=warmup)


def rungs_in_intervals(eta: int) -> tuple[int, ...]:
    """The rungs of ASHA by time, the last of which is the end of the training."""
    return (*takewhile(lambda rung: rung < END, (eta**rung for rung in range(END.bit_length()))), END)
