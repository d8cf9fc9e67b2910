"""TrialService: what the programs of a worker say of their trials, by a socket that only this user can reach."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from grpc_status import rpc_status

from hydro.api.worker.v1 import trial_service_pb2, trial_service_pb2_grpc
from hydro.kit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    HydroError,
    InvalidArgument,
    Unauthenticated,
    to_status,
)

_MAX_STEPS = 10**15
_ANSWER_SECONDS = 600.0
_SCHEME = "Bearer "


@dataclass(frozen=True, slots=True)
class Said:
    """What is known of a trial: a measurement, or, without metrics, its end.

    `value` is then its final objective; None: the last measured one. `answer` gets whether the program goes on, or the
    error that it is told; None: the program did not say it, its log did.
    """

    step: int = 0
    metrics: Mapping[str, float] | None = None
    value: float | None = None
    answer: Future[bool] | None = None


class TrialServer(trial_service_pb2_grpc.TrialServiceServicer):
    """Serves the programs of one lease.

    Tokens are made here, one for each run of a program, and only their digests are kept. They are good until `revoke`,
    and for nobody else's lease: another worker, or this one with another lease, does not know them.

    Args:
        objective: The metric that every measurement must have.
        most_programs: Side by side.
    """

    def __init__(self, objective: str, most_programs: int) -> None:
        self._objective = objective
        self._listeners: dict[bytes, Callable[[Said], None]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="hydro-trial-"))
        self.address = f"unix:{self.folder / 'socket'}"
        self._server = grpc.server(ThreadPoolExecutor(4 + 2 * most_programs, thread_name_prefix="trial-service"))
        trial_service_pb2_grpc.add_TrialServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)

    def __enter__(self) -> TrialServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listeners.clear()
        self._server.stop(None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def admit(self, listener: Callable[[Said], None]) -> str:
        """Gives a new token; what is said with it goes to the listener, on another thread."""
        token = secrets.token_urlsafe(32)
        self._listeners[_digest(token)] = listener
        return token

    def revoke(self, token: str) -> None:
        """Refuses the token from now on."""
        self._listeners.pop(_digest(token), None)

    def ReportMeasurement(  # noqa: N802
        self, request: trial_service_pb2.ReportMeasurementRequest, context: grpc.ServicerContext
    ) -> trial_service_pb2.ReportMeasurementResponse:
        """Passes a measurement on, and answers once it is stored."""
        with _errors_told(context):
            listener = self._listener(context)
            step, metrics = request.measurement.step, dict(request.measurement.metrics)
            self._check(step, metrics)
            goes_on = _answered(listener, Said(step, metrics))
        return trial_service_pb2.ReportMeasurementResponse(should_stop=not goes_on)

    def FinishTrial(  # noqa: N802
        self, request: trial_service_pb2.FinishTrialRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        """Passes the end on, and answers once it is stored."""
        with _errors_told(context):
            listener = self._listener(context)
            value = request.value if request.HasField("value") else None
            if value is not None and not math.isfinite(value):
                advice = f"is {value}: give a finite one, or end with an error"
                raise InvalidArgument.of([FieldViolation("value", advice)])
            _answered(listener, Said(value=value))
        return empty_pb2.Empty()

    def _listener(self, context: grpc.ServicerContext) -> Callable[[Said], None]:
        given = next((str(value) for key, value in context.invocation_metadata() if key == "authorization"), "")
        digest = _digest(given.removeprefix(_SCHEME))
        # Every one is compared, in constant time: how long it takes tells nothing.
        found = [listener for known, listener in list(self._listeners.items()) if hmac.compare_digest(known, digest)]
        if not found or not given.startswith(_SCHEME):
            raise Unauthenticated(
                "the token is not good for a trial of this worker, or not any more: its trial has ended, or goes on "
                "elsewhere under another lease; end the program"
            )
        return found[0]

    def _check(self, step: int, metrics: dict[str, float]) -> None:
        if not 0 <= step <= _MAX_STEPS:
            raise InvalidArgument.of([FieldViolation("measurement.step", f"is {step}: give 0 to {_MAX_STEPS}")])
        if self._objective not in metrics:
            found = ", ".join(map(repr, sorted(metrics))) or "none"
            advice = f"has no {self._objective!r}, the study's objective, but {found}: report it with every step"
            raise InvalidArgument.of([FieldViolation("measurement.metrics", advice)])


def _answered(listener: Callable[[Said], None], said: Said) -> bool:
    answer: Future[bool] = Future()
    listener(replace(said, answer=answer))
    try:
        return answer.result(_ANSWER_SECONDS)
    except FutureTimeoutError:
        raise DeadlineExceeded(f"the coordinator has not answered for {_ANSWER_SECONDS:.0f} s: report again") from None


@contextlib.contextmanager
def _errors_told(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except HydroError as error:
        _abort(context, error)


def _abort(context: grpc.ServicerContext, error: HydroError) -> NoReturn:
    status: Any = rpc_status.to_status(to_status(error))
    context.abort_with_status(status)
    raise error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def lease_lost() -> FailedPrecondition:
    """What a program is told whose worker has lost its lease."""
    return FailedPrecondition("the trial's lease is lost: it goes on elsewhere; end the program", reason="LEASE_LOST")
