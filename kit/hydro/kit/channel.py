"""Channels to Hydro's services: retries, deadlines, Hydro's own errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import grpc

from hydro.kit.call_retries import CallRetries
from hydro.kit.errors import HydroError, from_rpc_error

DEFAULT_DEADLINE_SECONDS = 30.0
SHORT_RETRY_SECONDS = 2.0
"""Of services among themselves: who calls has other work, and calls again."""
USER_RETRY_SECONDS = 25.0
"""Of users: a service that is restarted is back by then."""

_OPTIONS: list[tuple[str, Any]] = [
    # `CallRetries` sends unary calls again, and who opened a stream opens another: gRPC's second attempt of a stream
    # whose server was killed may wait for ever.
    ("grpc.enable_retries", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that was down is looked for again at once, not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def open_channel(address: str, *, retry_seconds: float = SHORT_RETRY_SECONDS) -> grpc.aio.Channel:
    """An asynchronous channel. Its calls raise HydroErrors; unary ones have a deadline of 30 seconds if given none.

    Args:
        address: host:port of the service.
        retry_seconds: For so long unary calls are tried again. 0: whoever calls knows better whom to ask. A stream that
            breaks raises at once: who opened it knows where to go on.
    """
    retries = CallRetries(retry_seconds)
    interceptors = [_AsyncUnaryErrors(retries), _AsyncStreamErrors(), _AsyncStreamInErrors(), _AsyncDuplexErrors()]
    return grpc.aio.insecure_channel(address, options=_OPTIONS, interceptors=interceptors)


def open_sync_channel(address: str, *, retry_seconds: float = SHORT_RETRY_SECONDS) -> grpc.Channel:
    """A blocking channel, in all else like that of `open_channel`."""
    errors = _SyncErrors(CallRetries(retry_seconds))
    return grpc.intercept_channel(grpc.insecure_channel(address, options=_OPTIONS), errors)


def _with_deadline(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    if details.timeout is not None:
        return details
    return _within(details, DEFAULT_DEADLINE_SECONDS)


def _within(details: grpc.aio.ClientCallDetails, seconds: float) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method, seconds, details.metadata, details.credentials, details.wait_for_ready
    )


class _AsyncUnaryErrors(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, retries: CallRetries) -> None:
        self._retries = retries

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        details = _with_deadline(client_call_details)
        attempts = self._retries.began(details.timeout or 0.0)
        while True:
            call = await continuation(details, request)
            try:
                response = await call
            except grpc.aio.AioRpcError as error:
                raised = from_rpc_error(error)
                pause = attempts.pause_seconds(raised)
                if pause is None:
                    raise raised from error
            else:
                attempts.answered()
                return response
            await asyncio.sleep(pause)
            details = _within(details, attempts.left_seconds)


async def _raising(responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    try:
        async for response in responses:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


class _AsyncStreamErrors(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return _raising(await continuation(client_call_details, request))


class _AsyncStreamInErrors(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        call = await continuation(client_call_details, request_iterator)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


class _AsyncDuplexErrors(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return _raising(await continuation(client_call_details, request_iterator))


class _RaisingResponses(Iterator[Any]):
    """A stream's answers; keeps the call's `cancel`."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def cancel(self) -> None:
        self._call.cancel()


class _SyncErrors(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, retries: CallRetries) -> None:
        self._retries = retries

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        details = _with_sync_deadline(client_call_details)
        attempts = self._retries.began(details.timeout)
        while True:
            try:
                answer = _checked(continuation(details, request))
            except HydroError as error:
                pause = attempts.pause_seconds(error)
                if pause is None:
                    raise
            else:
                attempts.answered()
                return answer
            time.sleep(pause)
            details = details._replace(timeout=attempts.left_seconds)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return _checked(continuation(client_call_details, request_iterator))

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return _RaisingResponses(continuation(client_call_details, request))

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return _RaisingResponses(continuation(client_call_details, request_iterator))


def _checked(call: Any) -> Any:
    # A call that failed at once is the error itself, without `exception`.
    if isinstance(call, grpc.RpcError) and not hasattr(call, "exception"):
        raise from_rpc_error(call)
    error = call.exception()
    if error is None:
        return call
    raise from_rpc_error(error) from error


def _with_sync_deadline(details: Any) -> Any:
    if details.timeout is not None:
        return details
    return cast(Any, details)._replace(timeout=DEFAULT_DEADLINE_SECONDS)
