"""Rounds: sent until they are answered, or the lease is gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hydro.tuner.training.lane import MemoryMiss
from hydro.worker.coordinator import ReportStream
from hydro.worker.lease import LeaseKeeper
from hydro.worker.round import Answer, LaneNews, Round


class Reporter:
    """Numbers the rounds of one lease. Each is sent again, unchanged, on a new stream when the one it was on broke."""

    def __init__(self, stream: ReportStream, keeper: LeaseKeeper, worked_seconds: Callable[[], float]) -> None:
        self._stream = stream
        self._keeper = keeper
        self._worked_seconds = worked_seconds
        self._sequence = 0

    def report(
        self, news: Sequence[LaneNews], free_lanes: int, fusion_count: int, misses: Sequence[MemoryMiss] = ()
    ) -> Answer:
        """Gives the coordinator's answer.

        Raises:
            LeaseLost: The lease is gone; nothing of the round counts.
        """
        self._keeper.ensure()
        self._sequence += 1
        worked = self._worked_seconds()
        spoken = Round(self._sequence, tuple(news), free_lanes, worked, fusion_count, tuple(misses))
        answer = self._keeper.insist(lambda: self._stream.exchange(spoken))
        if answer.release_requested:
            self._keeper.request_release()
        return answer

    def close(self) -> None:
        """Ends the stream."""
        self._stream.close()
