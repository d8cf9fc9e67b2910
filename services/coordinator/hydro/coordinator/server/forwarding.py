"""Calls that another coordinator decides about go there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import structlog

from hydro.api.coordinator.v1 import study_service_pb2, trial_pb2
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.storage.storage import Storage
from hydro.kit.channel import open_channel
from hydro.kit.errors import Unavailable

_log = structlog.get_logger()
Context = grpc.aio.ServicerContext[Any, Any]
_FORWARDED = "hydro-forwarded"
LONGEST_SECONDS = 20.0
"""A call whose owner is not found for so long fails with UNAVAILABLE."""
_PAUSE_SECONDS = 0.1
_LOOK_SECONDS = 1.0
"""A forwarded call without an answer looks so often whether it waits for the right one."""

_STUDY_SERVICE = "/hydro.api.coordinator.v1.StudyService/"
_WORKER_SERVICE = "/hydro.api.coordinator.v1.WorkerService/"


def _study_of_trial(name: str) -> StudyName:
    return TrialName.parse(name).study


_STUDIES: dict[str, Callable[[Any], StudyName]] = {
    "SuggestTrials": lambda request: StudyName.parse(request.parent, "parent"),
    "ReportMeasurement": lambda request: _study_of_trial(request.name),
    "CompleteTrial": lambda request: _study_of_trial(request.name),
    "RenewTrials": lambda request: StudyName.parse(request.parent, "parent"),
    "CancelStudy": lambda request: StudyName.parse(request.name),
    "PauseStudy": lambda request: StudyName.parse(request.name),
    "ResumeStudy": lambda request: StudyName.parse(request.name),
    "DeleteStudy": lambda request: StudyName.parse(request.name),
    "EnqueueTrials": lambda request: StudyName.parse(request.name),
    "TrainTarget": lambda request: StudyName.parse(request.name),
}


_DRIVE = f"{_STUDY_SERVICE}DriveTrials"
# A call on that stream, as the method that answers it alone, and where its answer goes.
_DRIVEN: dict[str, tuple[str, str, Any]] = {
    "suggest": ("SuggestTrials", "suggested", study_service_pb2.SuggestTrialsResponse),
    "report": ("ReportMeasurement", "reported", study_service_pb2.ReportMeasurementResponse),
    "complete": ("CompleteTrial", "completed", trial_pb2.Trial),
}


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a call is decided by: a study's owner, or allocation's (None)."""

    study: StudyName | None


class Forwarding(grpc.aio.ServerInterceptor):
    """Tries each call here first. One that raises NotOwner goes to the owner; what that says is the answer."""

    def __init__(self, storage: Storage, address: str) -> None:
        self._storage = storage
        self._address = address
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._known: dict[_Scope, str] = {}
        self._handlers: dict[str, tuple[Any, Any]] = {}
        self._is_leaving = False

    def leave(self) -> None:
        """From now on a call without an owner fails at once: who sends it again finds another coordinator."""
        self._is_leaving = True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the methods that only an owner answers."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        name = method.removeprefix(_STUDY_SERVICE)
        is_routed = name in _STUDIES or method == _DRIVE or method.startswith(_WORKER_SERVICE)
        if handler is None or not is_routed:
            return handler
        is_forwarded = any(key == _FORWARDED for key, _ in handler_call_details.invocation_metadata or ())
        if is_forwarded:
            # Who sent it here looks again: a call goes one step at most.
            return handler
        known, wrapped = self._handlers.get(method, (None, None))
        if known is not handler:
            wrapped = self._wrapped(method, handler)
            self._handlers[method] = handler, wrapped
        return wrapped

    async def close(self) -> None:
        """Closes the connections to the others."""
        for channel in self._channels.values():
            await channel.close()

    def _wrapped(self, method: str, handler: Any) -> Any:
        if method == _DRIVE:
            routed: Any = self._driving(handler)
        elif handler.response_streaming:
            routed = self._stream(method, handler)
        else:
            routed = self._unary(method, handler, _STUDIES.get(method.removeprefix(_STUDY_SERVICE)))
        make: Any = grpc.stream_stream_rpc_method_handler
        if not handler.response_streaming:
            make = grpc.unary_unary_rpc_method_handler
        return make(routed, handler.request_deserializer, _serializer(handler.response_serializer))

    def _unary(
        self, method: str, handler: Any, study_of: Callable[[Any], StudyName] | None
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        behaviour = handler.unary_unary

        async def answer(request: Any, context: Context) -> Any:
            return await self._routed(method, behaviour, study_of, request, context)

        return answer

    async def _routed(
        self,
        method: str,
        behaviour: Any,
        study_of: Callable[[Any], StudyName] | None,
        request: Any,
        context: Context,
    ) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST_SECONDS
        # Nearly every call is decided here: only one that is not is asked whose it is.
        scope = None
        while True:
            try:
                if scope is None and self._known:
                    scope = _scope(study_of, request)
                address = None if scope is None else self._known.get(scope)
                if address is None:
                    try:
                        return await behaviour(request, context)
                    except NotOwner:
                        scope = scope or _scope(study_of, request)
                        address = self._known[scope] = await self._owner(scope)
                assert scope is not None
                return await self._forwarded(address, method, scope, request, context)
            except Unavailable as error:
                if scope is not None:
                    self._known.pop(scope, None)
                if self._is_leaving or loop.time() + _PAUSE_SECONDS > end:
                    raise
                _log.info("call is routed again", method=method, error=error.message)
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _forwarded(self, address: str, method: str, scope: _Scope, request: Any, context: Context) -> Any:
        """The owner's answer. One that is cut off may never give it: once another owns the scope, that one is asked."""
        send: Any = self._channel(address).unary_unary(method, request_serializer=_serialized)
        call = asyncio.ensure_future(send(request, timeout=context.time_remaining(), metadata=[(_FORWARDED, "1")]))
        try:
            while not (await asyncio.wait([call], timeout=_LOOK_SECONDS))[0]:
                if await self._owner(scope) != address:
                    raise NotOwner(f"{scope.study or 'allocation'} has another owner now")
            return call.result()
        finally:
            call.cancel()

    def _driving(self, handler: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
        behaviour = handler.stream_stream

        async def answers(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            drive = _Drive(behaviour, context)
            try:
                async for request in requests:

                    async def here(*_: Any, request: Any = request) -> Any:
                        return await drive.answer(request)

                    kind = request.WhichOneof("call")
                    if kind is None:
                        yield await here()
                        continue
                    name, field, message = _DRIVEN[kind]
                    call = getattr(request, kind)
                    answer = await self._routed(f"{_STUDY_SERVICE}{name}", here, _STUDIES[name], call, context)
                    if isinstance(answer, bytes):
                        answer = study_service_pb2.DriveTrialsResponse(**{field: message.FromString(answer)})
                    yield answer
            finally:
                await drive.close()

        return answers

    def _stream(self, method: str, handler: Any) -> Callable[[Any, Context], AsyncIterator[Any]]:
        behaviour = handler.stream_stream

        async def answers(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            address = await self._storage.run(lambda tx: tx.coordinators.allocation_owner())
            if not address or address == self._address:
                async for answer in behaviour(requests, context):
                    yield answer
                return
            call: Any = self._channel(address).stream_stream(method, request_serializer=_serialized)
            async for answer in call(requests, metadata=[(_FORWARDED, "1")]):
                yield answer

        return answers

    async def _owner(self, scope: _Scope) -> str:
        study = scope.study
        if study is None:
            address = await self._storage.run(lambda tx: tx.coordinators.allocation_owner())
        else:
            address = await self._storage.run(lambda tx: tx.coordinators.owner_of(study))
        if not address or address == self._address:
            raise NotOwner(f"{study or 'allocation'} has no owner right now: try again")
        return address

    def _channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            # One attempt: when an owner has died, there is another one to be asked.
            self._channels[address] = open_channel(address, retry_seconds=0)
        return self._channels[address]


def _scope(study_of: Callable[[Any], StudyName] | None, request: Any) -> _Scope:
    return _Scope(None if study_of is None else study_of(request))


class _Drive:
    """The behaviour of the stream, asked for one answer at a time."""

    def __init__(self, behaviour: Any, context: Context) -> None:
        self._behaviour = behaviour
        self._context = context
        self._request: Any = None
        self._answers: AsyncGenerator[Any, None] | None = None

    async def answer(self, request: Any) -> Any:
        """Its answer. One that fails ends the behaviour, and the next request begins it again."""
        self._request = request
        if self._answers is None:
            self._answers = self._behaviour(self._requests(), self._context)
        try:
            return await anext(self._answers)
        except BaseException:
            self._answers = None
            raise

    async def close(self) -> None:
        """Ends the behaviour."""
        if self._answers is not None:
            await self._answers.aclose()

    async def _requests(self) -> AsyncIterator[Any]:
        while True:
            yield self._request


def _serialized(message: Any) -> bytes:
    serialized: bytes = message.SerializeToString()
    return serialized


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)
