"""PipelineService: a stream for each stage, as long as the stage lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from hydro.api.squeezer.v1 import pipeline_service_pb2, pipeline_service_pb2_grpc
from hydro.squeezer.server import convert
from hydro.squeezer.squeezer import AttachedStage, Squeezer

Context = grpc.aio.ServicerContext[Any, Any]


class PipelineServicer(pipeline_service_pb2_grpc.PipelineServiceServicer):
    """Where hooks report their stages."""

    def __init__(self, squeezer: Squeezer) -> None:
        self._squeezer = squeezer

    async def ReportStages(  # noqa: N802
        self, request_iterator: AsyncIterator[pipeline_service_pb2.ReportStagesRequest], context: Context
    ) -> pipeline_service_pb2.ReportStagesResponse:
        """Observes the stage until its stream ends, however it ends."""
        attached: AttachedStage | None = None
        try:
            async for message in request_iterator:
                attached = attached or self._squeezer.attach(convert.stage(message))
                self._squeezer.heard(attached, convert.stage_memory(message))
        finally:
            if attached is not None:
                self._squeezer.detach(attached)
        return pipeline_service_pb2.ReportStagesResponse()
