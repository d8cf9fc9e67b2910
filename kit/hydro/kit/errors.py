"""One tree of errors, the same classes on both sides of the wire.

HydroError
├── InvalidArgument      wrong fields, each named in `violations`
├── NotFound
├── AlreadyExists
├── FailedPrecondition   the state forbids it; `reason` says which ("LEASE_LOST", "WRONG_STATE", ...)
├── Unauthenticated      a token that is not good, or not any more
├── Aborted              the resource changed meanwhile: read it again
├── OutOfRange
├── ResourceExhausted    overload, a quota that is used up (`quota`), or a message that is too large
├── Unavailable          a service does not answer: try again
├── DeadlineExceeded
├── Cancelled
└── Internal             a fault of ours

A server's interceptor turns them into a google.rpc.Status with one ErrorInfo and, for wrong fields, a BadRequest, or,
where it is known when to try again, a RetryInfo, and for a quota a QuotaFailure; a client's interceptor turns that back
into the same class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Self, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

DOMAIN = "hydro"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A wrong field: its path in the request, and what is wrong with which value and what to do."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """Whose quota is used up ("projects/vision"), and which one, with its limit and what to do."""

    subject: str
    description: str


class HydroError(Exception):
    """What went wrong, with which value, and what to do."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    default_reason: ClassVar[str] = "FAULT"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_seconds: float | None = None,
        quota: QuotaViolation | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_seconds = retry_seconds
        self.quota = quota


class InvalidArgument(HydroError):
    """Fields of the request are wrong."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = "INVALID_FIELDS"

    @classmethod
    def of(cls, violations: Iterable[FieldViolation]) -> Self:
        """An error whose message lists every violation on a line of its own."""
        found = tuple(violations)
        return cls("\n".join(f"{each.field}: {each.description}" for each in found), violations=found)


class NotFound(HydroError):
    """There is no resource of that name."""

    code = grpc.StatusCode.NOT_FOUND
    default_reason = "RESOURCE_NOT_FOUND"


class AlreadyExists(HydroError):
    """Another request made a resource, or gave a value, of that name before."""

    code = grpc.StatusCode.ALREADY_EXISTS
    default_reason = "RESOURCE_EXISTS"


class FailedPrecondition(HydroError):
    """The state of a resource forbids the call; `reason` says how."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = "WRONG_STATE"


class Unauthenticated(HydroError):
    """The call has no token, or one that is not good, or not any more."""

    code = grpc.StatusCode.UNAUTHENTICATED
    default_reason = "TOKEN_REFUSED"


class Aborted(HydroError):
    """The resource changed meanwhile: read it again."""

    code = grpc.StatusCode.ABORTED
    default_reason = "ETAG_MISMATCH"


class OutOfRange(HydroError):
    """A token points to what is no longer kept."""

    code = grpc.StatusCode.OUT_OF_RANGE
    default_reason = "RESUME_TOKEN_EXPIRED"


class ResourceExhausted(HydroError):
    """Overload: try again later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "OVERLOADED"


class Unavailable(HydroError):
    """A service that is needed does not answer: try again."""

    code = grpc.StatusCode.UNAVAILABLE
    default_reason = "SERVICE_UNAVAILABLE"


class DeadlineExceeded(HydroError):
    """No answer came in time; whether the call took effect is not known."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = "SERVICE_UNAVAILABLE"


class Cancelled(HydroError):
    """The caller gave the call up."""

    code = grpc.StatusCode.CANCELLED
    default_reason = "SERVICE_UNAVAILABLE"


class Internal(HydroError):
    """A fault of ours: see the service's log."""

    code = grpc.StatusCode.INTERNAL


_CLASSES: dict[grpc.StatusCode, type[HydroError]] = {each.code: each for each in HydroError.__subclasses__()}


def to_status(error: HydroError) -> status_pb2.Status:
    """The error as it crosses the wire."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    details = [_packed(info)]
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for each in error.violations:
            bad_request.field_violations.add(field=each.field, description=each.description)
        details.append(_packed(bad_request))
    if error.retry_seconds is not None:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromTimedelta(timedelta(seconds=error.retry_seconds))
        details.append(_packed(retry_info))
    if error.quota is not None:
        quota_failure = error_details_pb2.QuotaFailure()
        quota_failure.violations.add(subject=error.quota.subject, description=error.quota.description)
        details.append(_packed(quota_failure))
    number = code_pb2.Code.Value(error.code.name)
    return status_pb2.Status(code=number, message=error.message, details=details)


_BROKEN = "Internal error from Core"


def from_rpc_error(error: grpc.RpcError | grpc.aio.AioRpcError) -> HydroError:
    """The class that the server raised, or the one of the status code where no Hydro server answered."""
    code: grpc.StatusCode = error.code()
    message = error.details() or code.name
    # A message that is being sent when its connection breaks: gRPC's own word, which no server says.
    is_broken = code is grpc.StatusCode.INTERNAL and message == _BROKEN
    error_class = Unavailable if is_broken else _CLASSES.get(code, HydroError)
    status = _status_of(error)
    if status is None:
        return error_class(message)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry_info, retry_seconds = error_details_pb2.RetryInfo(), None
    quota_failure = error_details_pb2.QuotaFailure()
    for detail in status.details:
        detail.Unpack(quota_failure)
        detail.Unpack(info)
        detail.Unpack(bad_request)
        if detail.Unpack(retry_info):
            retry_seconds = retry_info.retry_delay.ToTimedelta().total_seconds()
    violations = [FieldViolation(each.field, each.description) for each in bad_request.field_violations]
    quotas = [QuotaViolation(each.subject, each.description) for each in quota_failure.violations]
    return error_class(
        message,
        reason=info.reason or None,
        metadata=info.metadata,
        violations=violations,
        retry_seconds=retry_seconds,
        quota=quotas[0] if quotas else None,
    )


def _status_of(error: grpc.RpcError | grpc.aio.AioRpcError) -> status_pb2.Status | None:
    metadata = cast("Iterable[tuple[str, bytes | str]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == rpc_status.GRPC_DETAILS_METADATA_KEY:
            return status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode("latin-1"))
    return None


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
