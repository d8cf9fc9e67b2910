"""WorkerService: parse, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import empty_pb2

from hydro.api.coordinator.v1 import worker_service_pb2, worker_service_pb2_grpc
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.names import DeviceName, LeaseName
from hydro.coordinator.reporting import Reporting
from hydro.coordinator.server import convert, convert_work

Context = grpc.aio.ServicerContext[Any, Any]


class WorkerServicer(worker_service_pb2_grpc.WorkerServiceServicer):
    """Work for the processes on devices."""

    def __init__(self, leasing: Leasing, reporting: Reporting, artifact_uri: str, checkpoint_seconds: float) -> None:
        self._leasing = leasing
        self._reporting = reporting
        self._artifact_uri = artifact_uri
        self._checkpoint_seconds = checkpoint_seconds

    async def AcquireLease(  # noqa: N802
        self, request: worker_service_pb2.AcquireLeaseRequest, context: Context
    ) -> worker_service_pb2.AcquireLeaseResponse:
        """Gives the next bundle of a device."""
        device = DeviceName.parse(request.device, "device")
        grant = await self._leasing.acquire(device, request.worker, request.request_id, request.wait_seconds)
        if grant is None:
            return worker_service_pb2.AcquireLeaseResponse()
        lease = convert_work.lease_message(
            grant, self._leasing.lease_seconds, self._artifact_uri, self._checkpoint_seconds
        )
        return worker_service_pb2.AcquireLeaseResponse(lease=lease)

    async def RenewLease(  # noqa: N802
        self, request: worker_service_pb2.RenewLeaseRequest, context: Context
    ) -> worker_service_pb2.RenewLeaseResponse:
        """Puts off a lease's expiry."""
        renewal = await self._leasing.renew(LeaseName.parse(request.lease), request.fencing_token)
        return worker_service_pb2.RenewLeaseResponse(
            expire_time=convert.timestamp(renewal.lease.expire_time), release_requested=renewal.release_requested
        )

    async def ReportMeasurements(  # noqa: N802
        self, request_iterator: AsyncIterator[worker_service_pb2.ReportMeasurementsRequest], context: Context
    ) -> AsyncIterator[worker_service_pb2.ReportMeasurementsResponse]:
        """Answers each message once it is stored."""
        async for request in request_iterator:
            answer = await self._reporting.report(convert_work.report_message(request))
            yield convert_work.answer_message(answer)

    async def ReleaseLease(  # noqa: N802
        self, request: worker_service_pb2.ReleaseLeaseRequest, context: Context
    ) -> empty_pb2.Empty:
        """Ends a lease."""
        name = LeaseName.parse(request.lease)
        await self._leasing.release(name, request.fencing_token, request.failure, request.failure_reason)
        return empty_pb2.Empty()
