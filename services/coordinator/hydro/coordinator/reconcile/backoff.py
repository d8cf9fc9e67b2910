"""Waits longer each time a worker fails on a device."""

from __future__ import annotations

from hydro.kit.clock import Clock

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 15.0


class Backoff:
    """The pause before the next start on each device: doubled by every failure, gone with a success."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def fail(self, device: str) -> None:
        """A worker on the device ended badly."""
        failures = self._failures.get(device, (0, 0.0))[0] + 1
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures - 1, 10))
        self._failures[device] = (failures, self._clock.monotonic() + pause)

    def succeed(self, device: str) -> None:
        """A worker on the device ended well."""
        self._failures.pop(device, None)

    def may_start(self, device: str) -> bool:
        """Whether the pause is over."""
        return self._clock.monotonic() >= self._failures.get(device, (0, float("-inf")))[1]
