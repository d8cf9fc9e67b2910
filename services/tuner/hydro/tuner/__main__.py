"""The tuner's process: `python -m hydro.tuner`."""

import asyncio

import grpc

from hydro.api.tuner.v1 import tuner_service_pb2, tuner_service_pb2_grpc
from hydro.kit.logging import configure_logging
from hydro.kit.server import serve
from hydro.tuner.building.process_builder import ProcessBuilder
from hydro.tuner.building.surrogate_cache import SurrogateCache
from hydro.tuner.server.tuner_servicer import TunerServicer
from hydro.tuner.settings import TunerSettings


async def run(settings: TunerSettings) -> None:
    """Serves until SIGTERM; builds in progress end with the process."""
    builder = ProcessBuilder(settings.build_limits, concurrent_builds=settings.concurrent_builds)
    cache = SurrogateCache(builder)

    def register(server: grpc.aio.Server) -> None:
        tuner_service_pb2_grpc.add_TunerServiceServicer_to_server(TunerServicer(cache), server)

    name = tuner_service_pb2.DESCRIPTOR.services_by_name["TunerService"].full_name
    builder.keep_spare()
    try:
        await serve(settings, register, service_names=[name])
    finally:
        await cache.close()
        await builder.close()


def main() -> None:
    """Starts the tuner with the settings of its environment."""
    settings = TunerSettings()
    configure_logging("tuner", settings.log_level)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
