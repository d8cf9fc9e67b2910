"""When a call that was not answered is sent again, and after which pause."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from hydro.kit.errors import Cancelled, HydroError, ResourceExhausted, Unavailable

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
UNANSWERED_SECONDS = 2.0
"""An address that has never answered is given up so soon: more likely it is wrong than being restarted."""


@dataclass(slots=True)
class CallRetries:
    """What one channel does with calls that fail: each may be sent twice.

    UNAVAILABLE is tried again after pauses that double, each of a random part of its length, so that callers of a
    service that comes back do not come at once; so is CANCELLED, which a service that stops says to calls on their way
    (a caller that cancels its own call hears of no code). RESOURCE_EXHAUSTED is, where the service says when to come
    again: after that time and a random part of it. A message that is too large gets that code too, and never becomes
    smaller. All within the call's deadline and `seconds` from its start.
    """

    seconds: float
    has_answered: bool = False

    def began(self, timeout_seconds: float) -> Attempts:
        """A call that has so long begins."""
        return Attempts(self, time.monotonic() + timeout_seconds)


@dataclass(slots=True)
class Attempts:
    """One call's attempts."""

    retries: CallRetries
    deadline: float
    count: int = 0
    start: float = 0.0

    def __post_init__(self) -> None:
        self.start = time.monotonic()

    @property
    def left_seconds(self) -> float:
        """To the call's deadline."""
        return max(0.0, self.deadline - time.monotonic())

    def answered(self) -> None:
        """The service gave an answer, if only an error."""
        self.retries.has_answered = True

    def pause_seconds(self, error: HydroError) -> float | None:
        """How long to wait before the next attempt. None: the error is the answer."""
        if isinstance(error, Unavailable | Cancelled):
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**self.count)
            pause = longest * random.uniform(0.5, 1.0)
        elif isinstance(error, ResourceExhausted) and error.retry_seconds is not None:
            self.answered()
            pause = error.retry_seconds * random.uniform(1.0, 1.5)
        else:
            self.answered()
            return None
        self.count += 1
        patience = self.retries.seconds if self.retries.has_answered else min(self.retries.seconds, UNANSWERED_SECONDS)
        end = min(self.deadline, self.start + patience)
        return pause if time.monotonic() + pause < end else None
