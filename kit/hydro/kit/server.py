"""A service's process: gRPC server, health, reflection, metrics, and an end without lost calls."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Awaitable, Callable, Sequence

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server

from hydro.kit.interceptors import ServerCalls
from hydro.kit.settings import ServerSettings

_log = structlog.get_logger()

# Our channels ping every 20 s, to find a peer that has gone without a word. By default a server takes that for abuse
# and ends every stream that is quiet for a minute.
_OPTIONS = [("grpc.http2.min_ping_interval_without_data_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]


async def serve(
    settings: ServerSettings,
    register: Callable[[grpc.aio.Server], None],
    *,
    service_names: Sequence[str],
    run: Callable[[], Awaitable[None]] | None = None,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: health says NOT_SERVING, running calls end, new ones are refused.

    `run` goes on beside the server and is cancelled before it drains; when it ends with an error, so does the process.
    `interceptors` are inside the one that maps errors.

    Raises:
        OSError: the address cannot be listened on.
    """
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port)
    server = grpc.aio.server(interceptors=[ServerCalls(), *interceptors], options=_OPTIONS)
    _leave_methods_unregistered(server)
    register(server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    reflection.enable_server_reflection([*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _listen(server, settings.listen_address)
    _collect_rarely()
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    _log.info("serving", port=port)
    try:
        await _until_signal_or_end(run)
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(settings.drain_seconds)


def _leave_methods_unregistered(server: grpc.aio.Server) -> None:
    """Keeps generated code from registering methods with gRPC, beside the generic handlers that it adds as well.

    grpc.aio waits for the next call of each registered method by itself, so that every call passes all of them.
    """
    server.add_registered_method_handlers = lambda service_name, method_handlers: None  # type: ignore[method-assign]


def _collect_rarely() -> None:
    """Has the garbage collector pass over what a service keeps for good, and look at the rest less often.

    Calls hardly make cycles, but each makes hundreds of objects: by default all that is kept is searched again and
    again, tens of milliseconds each time where thousands of trials are in memory.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _listen(server: grpc.aio.Server, address: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"listen_address: cannot listen on {address!r}: {error}; is another process there?") from error
    return port


async def _until_signal_or_end(run: Callable[[], Awaitable[None]] | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    waiting: set[asyncio.Future[object]] = {asyncio.ensure_future(stopped.wait())}
    if run is not None:
        waiting.add(asyncio.ensure_future(run()))
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    for task in done:
        task.result()
