"""What ends a study before all of its trials have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stopping:
    """The first that holds ends the study as SUCCEEDED; its `state_reason` says which."""

    max_duration_seconds: float = 0.0
    target_value: float | None = None
    max_trials_without_improvement: int = 0


def stop_when(
    *, max_duration_seconds: float = 0.0, target_value: float | None = None, max_trials_without_improvement: int = 0
) -> Stopping:
    """Ends a study early. Trials that run then are cancelled.

    Args:
        max_duration_seconds: It has searched for so long; its surrogate's making and pauses do not count. 0: no limit.
        target_value: A trial was measured to the end with this value or a better one.
        max_trials_without_improvement: So many trials in a row ended after the best one, and none was better; failed
            ones do not count. 0: no limit.
    """
    return Stopping(max_duration_seconds, target_value, max_trials_without_improvement)
