"""The squeezer's process: `python -m hydro.squeezer`."""

from __future__ import annotations

import asyncio
import sys

import grpc
import structlog

from hydro.api.squeezer.v1 import (
    pipeline_service_pb2,
    pipeline_service_pb2_grpc,
    squeezer_service_pb2,
    squeezer_service_pb2_grpc,
)
from hydro.kit.clock import SystemClock
from hydro.kit.logging import configure_logging
from hydro.kit.server import serve
from hydro.squeezer.device_lock import DeviceLock, revoke_leftover_gates
from hydro.squeezer.gpu.gpu import Gpu, GpuUnavailable
from hydro.squeezer.gpu.nvml_gpu import NvmlGpu
from hydro.squeezer.gpu.simulated_gpu import SimulatedGpu
from hydro.squeezer.server.pipeline_servicer import PipelineServicer
from hydro.squeezer.server.squeezer_servicer import SqueezerServicer
from hydro.squeezer.settings import SqueezerProcessSettings
from hydro.squeezer.squeezer import Squeezer

_log = structlog.get_logger()

# The gatekeeper's thread must not wait 5 ms for the interpreter while the server answers a call.
_SWITCH_SECONDS = 0.0002


def find_gpu(settings: SqueezerProcessSettings) -> Gpu:
    """Gives the GPU that the settings ask for.

    Raises:
        GpuUnavailable: NVML was asked for by name, and is not there.
    """
    if settings.gpu != "simulated":
        try:
            return NvmlGpu(settings.gpu_index)
        except GpuUnavailable as error:
            if settings.gpu == "nvml":
                raise
            _log.info("no NVML: the GPU is simulated", error=str(error))
    return SimulatedGpu(settings.simulated_memory_bytes)


async def run(settings: SqueezerProcessSettings) -> None:
    """Serves until SIGTERM."""
    identifier = settings.device.removeprefix("devices/")
    lock = DeviceLock(settings.gate_directory, identifier)
    revoke_leftover_gates(settings.gate_directory, identifier)
    squeezer = Squeezer(
        settings.device, find_gpu(settings), settings.gate_directory, settings.squeezer(), SystemClock()
    )

    def register(server: grpc.aio.Server) -> None:
        squeezer_service_pb2_grpc.add_SqueezerServiceServicer_to_server(SqueezerServicer(squeezer), server)
        pipeline_service_pb2_grpc.add_PipelineServiceServicer_to_server(PipelineServicer(squeezer), server)

    names = [
        squeezer_service_pb2.DESCRIPTOR.services_by_name["SqueezerService"].full_name,
        pipeline_service_pb2.DESCRIPTOR.services_by_name["PipelineService"].full_name,
    ]
    try:
        await serve(settings, register, service_names=names, run=squeezer.run)
    finally:
        lock.release()


def main() -> None:
    """Starts the squeezer with the settings of its environment."""
    settings = SqueezerProcessSettings()
    configure_logging("squeezer", settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
