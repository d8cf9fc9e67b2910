"""SqueezerService: parse, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import empty_pb2

from hydro.api.squeezer.v1 import squeezer_service_pb2, squeezer_service_pb2_grpc
from hydro.squeezer.server import convert
from hydro.squeezer.slot import SlotName
from hydro.squeezer.squeezer import Squeezer
from hydro.squeezer.statistics import summarize

Context = grpc.aio.ServicerContext[Any, Any]


class SqueezerServicer(squeezer_service_pb2_grpc.SqueezerServiceServicer):
    """The slots of one GPU."""

    def __init__(self, squeezer: Squeezer) -> None:
        self._squeezer = squeezer

    async def WatchSlots(  # noqa: N802
        self, request: squeezer_service_pb2.WatchSlotsRequest, context: Context
    ) -> AsyncIterator[squeezer_service_pb2.WatchSlotsResponse]:
        """Gives the slots there are, then again after each change."""
        async for offers in self._squeezer.watch():
            yield convert.slots_to_message(offers)

    async def ClaimSlot(  # noqa: N802
        self, request: squeezer_service_pb2.ClaimSlotRequest, context: Context
    ) -> squeezer_service_pb2.ClaimSlotResponse:
        """Gives the slot to the holder of the fencing token."""
        gate = self._squeezer.claim(SlotName.parse(request.name), convert.claim(request))
        return squeezer_service_pb2.ClaimSlotResponse(gate=gate)

    async def ReleaseSlot(  # noqa: N802
        self, request: squeezer_service_pb2.ReleaseSlotRequest, context: Context
    ) -> empty_pb2.Empty:
        """Ends the claim of this token, if there is one."""
        self._squeezer.release(SlotName.parse(request.name), request.fencing_token)
        return empty_pb2.Empty()

    async def GetStatistics(  # noqa: N802
        self, request: squeezer_service_pb2.GetStatisticsRequest, context: Context
    ) -> squeezer_service_pb2.Statistics:
        """Gives what was done so far."""
        statistics = summarize(self._squeezer.reports(), self._squeezer.slowdown_budget)
        return convert.statistics_to_message(statistics)
