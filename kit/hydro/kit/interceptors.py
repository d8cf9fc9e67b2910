"""What happens around every call to a service: it has a deadline, errors become statuses, it is logged and counted."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from prometheus_client import Counter, Histogram

from hydro.kit.errors import DeadlineExceeded, HydroError, Internal, InvalidArgument, to_status

LONGEST_UNARY_SECONDS = 60.0
"""A unary call whose caller set no deadline, or a later one, ends after so long."""

_log = structlog.get_logger()
_CALLS = Counter("hydro_calls", "Calls answered", ["method", "code"])
_SECONDS = Histogram("hydro_call_seconds", "Seconds to answer a unary call", ["method"])


class ServerCalls(grpc.aio.ServerInterceptor):
    """Maps HydroErrors to statuses and everything else to INTERNAL, logs each call that fails, counts all.

    Args:
        longest_unary_seconds: Deadline of unary calls that have none.
    """

    def __init__(self, longest_unary_seconds: float = LONGEST_UNARY_SECONDS) -> None:
        self._longest_unary_seconds = longest_unary_seconds
        self._handlers: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method)
        known, wrapped = self._handlers.get(method, (None, None))
        if known is not handler:
            wrapped = self._wrapped(method, handler)
            self._handlers[method] = handler, wrapped
        return wrapped

    def _wrapped(self, method: str, handler: Any) -> Any:
        kind = (
            ("stream" if handler.request_streaming else "unary")
            + "_"
            + ("stream" if handler.response_streaming else "unary")
        )
        behaviour = getattr(handler, kind)
        behaviour = _refusing_malformed(behaviour, handler.request_streaming, handler.response_streaming)
        if handler.response_streaming:
            wrapped: Any = _wrapped_stream(method, behaviour)
        else:
            # A stream of requests lasts as long as its caller has something to say.
            longest = None if handler.request_streaming else self._longest_unary_seconds
            wrapped = _wrapped_unary(method, behaviour, longest)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(wrapped, _tolerant(handler.request_deserializer), handler.response_serializer)


class _Malformed:
    """Bytes that are no message: gRPC would answer them with UNKNOWN, before anybody here is asked."""

    def __init__(self, error: DecodeError) -> None:
        self.refusal = InvalidArgument(f"the request is not a message of this method: {error}")


def _tolerant(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserializer is None:
        return None

    def parse(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError as error:
            return _Malformed(error)

    return parse


def _refusing_malformed(behaviour: Callable[..., Any], is_streamed: bool, answers_stream: bool) -> Callable[..., Any]:
    async def checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if isinstance(request, _Malformed):
                raise request.refusal
            yield request

    async def refuse(refusal: InvalidArgument) -> Any:
        raise refusal

    async def refuse_stream(refusal: InvalidArgument) -> AsyncIterator[Any]:
        raise refusal
        yield

    def answer(request: Any, context: Any) -> Any:
        if is_streamed:
            return behaviour(checked(request), context)
        if isinstance(request, _Malformed):
            return (refuse_stream if answers_stream else refuse)(request.refusal)
        return behaviour(request, context)

    return answer


def _wrapped_unary(
    method: str, behaviour: Callable[..., Awaitable[Any]], longest_seconds: float | None
) -> Callable[..., Awaitable[Any]]:
    answered, seconds = _CALLS.labels(method, "OK"), _SECONDS.labels(method)

    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        start = time.perf_counter()
        try:
            if longest_seconds is None or _ends_before(context, longest_seconds):
                response = await behaviour(request, context)
            else:
                response = await _in_time(behaviour(request, context), method, longest_seconds)
        except Exception as error:  # noqa: BLE001 the edge of the service
            await _abort(method, context, error)
        answered.inc()
        seconds.observe(time.perf_counter() - start)
        return response

    return answer


def _ends_before(context: grpc.aio.ServicerContext[Any, Any], seconds: float) -> bool:
    # gRPC itself cancels a call at its caller's deadline: what is left are callers without one.
    remaining = context.time_remaining()
    return remaining is not None and remaining <= seconds


async def _in_time(answer: Awaitable[Any], method: str, longest_seconds: float) -> Any:
    deadline = asyncio.timeout(longest_seconds)
    try:
        async with deadline:
            return await answer
    except TimeoutError:
        if not deadline.expired():
            raise
        raise DeadlineExceeded(f"{method} took longer than {longest_seconds} s: try again, or ask for less") from None


def _wrapped_stream(method: str, behaviour: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    async def answers(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        try:
            said = behaviour(request, context)
            if inspect.isawaitable(said):
                # It writes its answers to the context itself, as gRPC's own health service does.
                await said
            else:
                async for response in said:
                    yield response
        except Exception as error:  # noqa: BLE001 the edge of the service
            await _abort(method, context, error)
        _CALLS.labels(method, "OK").inc()

    return answers


async def _abort(method: str, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, HydroError):
        _log.info("call refused", method=method, code=error.code.name, reason=error.reason, message=error.message)
        failure = error
    else:
        _log.error("call failed", method=method, exc_info=error)
        failure = Internal(f"{type(error).__name__} in {method}: see the service's log")
    _CALLS.labels(method, failure.code.name).inc()
    status = cast(Any, rpc_status.to_status(to_status(failure)))
    trailing = tuple(status.trailing_metadata)
    if failure.retry_seconds is not None:
        # gRPC's own retries wait for so long.
        trailing += (("grpc-retry-pushback-ms", str(round(1000 * failure.retry_seconds))),)
    await context.abort(failure.code, failure.message, trailing)
