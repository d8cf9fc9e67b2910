"""Hyperband's brackets: which there are, and which trial is in which.

Source: Li et al., "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization" (JMLR 2018), Algorithm 1.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

_GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio: its multiples fall evenly into [0, 2^64), however many of them there are."""


class Brackets:
    """Bracket b has its first rung at `min_steps * eta ** b`, up to the last one, whose trials are never judged.

    Args:
        min_steps: Of the lowest rung of bracket 0.
        max_steps: Of a trial that is trained to the end.
        eta: Between two rungs.
    """

    def __init__(self, min_steps: int, max_steps: int, eta: int) -> None:
        count = 1
        while min_steps * eta**count <= max_steps:
            count += 1
        # ceil((s_max + 1) / (s + 1) * eta^s) trials in the bracket of s = s_max - b halvings.
        trials = [-(-count * eta**s // (s + 1)) for s in reversed(range(count))]
        self.shares = tuple(trials)
        """Trials in each bracket, of as many as the paper's one run over all brackets has."""
        self._ends = list(accumulate(trials))

    def __len__(self) -> int:
        return len(self.shares)

    def of(self, trial: int) -> int:
        """The bracket of a trial, by its number: any run of trials is spread over the brackets by their shares."""
        place = (trial * _GOLDEN % 2**64) * self._ends[-1] >> 64
        return bisect_right(self._ends, place)
