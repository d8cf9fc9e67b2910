"""Whether a service answers."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_TIMEOUT_SECONDS = 1.0


async def is_serving(address: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
    """Whether a gRPC server at host:port says that it serves."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service="")
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
