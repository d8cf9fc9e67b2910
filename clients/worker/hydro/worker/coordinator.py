"""The coordinator as a worker sees it."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import grpc

from hydro.api.coordinator.v1 import device_service_pb2 as device_pb
from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.coordinator.v1.device_service_pb2_grpc import DeviceServiceStub
from hydro.api.coordinator.v1.worker_service_pb2_grpc import WorkerServiceStub
from hydro.kit.errors import DeadlineExceeded, HydroError, Unavailable
from hydro.worker.convert import from_own_device, from_round, to_answer, to_grant
from hydro.worker.own_device import OwnDevice
from hydro.worker.recipe import Grant
from hydro.worker.round import Answer, Round

_CALL_SECONDS = 10.0


class Coordinator:
    """WorkerService, and what workers need of DeviceService, in the worker's values. Calls raise HydroErrors."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = WorkerServiceStub(channel)
        self._devices = DeviceServiceStub(channel)

    def register(self, device: OwnDevice) -> None:
        """Makes the device known, or what is new of it. The same again is no error."""
        request = device_pb.RegisterDeviceRequest(device=from_own_device(device), request_id=str(uuid.uuid4()))
        self._devices.RegisterDevice(request, timeout=_CALL_SECONDS)

    def acquire(self, device: str, worker: str, request_id: str, wait_seconds: float) -> Grant | None:
        """Gives the next bundle for the device, or None after `wait_seconds`."""
        request = worker_pb.AcquireLeaseRequest(
            device=device, worker=worker, request_id=request_id, wait_seconds=wait_seconds
        )
        response = self._stub.AcquireLease(request, timeout=wait_seconds + _CALL_SECONDS)
        return to_grant(response.lease) if response.HasField("lease") else None

    def renew(self, grant: Grant) -> bool:
        """Puts off the lease's expiry; says whether the worker should release it."""
        request = worker_pb.RenewLeaseRequest(lease=grant.name, fencing_token=grant.fencing_token)
        return bool(self._stub.RenewLease(request, timeout=_CALL_SECONDS).release_requested)

    def release(self, grant: Grant, failure: str = "", failure_reason: str = "") -> None:
        """Ends the lease."""
        request = worker_pb.ReleaseLeaseRequest(
            lease=grant.name, fencing_token=grant.fencing_token, failure=failure, failure_reason=failure_reason
        )
        self._stub.ReleaseLease(request, timeout=_CALL_SECONDS)

    def reports(self, grant: Grant) -> ReportStream:
        """Opens, lazily, the stream of a lease's rounds."""
        return ReportStream(self._stub, grant)


class ReportStream:
    """Sends rounds and waits for each one's answer. A broken stream is opened again by the next round."""

    def __init__(self, stub: WorkerServiceStub, grant: Grant) -> None:
        self._stub = stub
        self._grant = grant
        self._call: _Call | None = None

    def exchange(self, spoken: Round) -> Answer:
        """Sends a round and gives its answer. The same round may be sent again after an error."""
        if self._call is None:
            self._call = _Call(self._stub)
        try:
            return to_answer(self._call.exchange(from_round(self._grant, spoken)))
        except HydroError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the stream."""
        call, self._call = self._call, None
        if call is not None:
            call.close()


class _Call:
    """One call of ReportMeasurements. A thread reads it, so that an answer that never comes does not block for ever."""

    def __init__(self, stub: WorkerServiceStub) -> None:
        self._outgoing: queue.SimpleQueue[worker_pb.ReportMeasurementsRequest | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._responses = stub.ReportMeasurements(self._requests())
        threading.Thread(target=self._read, name="report-reader", daemon=True).start()

    def exchange(self, request: worker_pb.ReportMeasurementsRequest) -> worker_pb.ReportMeasurementsResponse:
        self._outgoing.put(request)
        while True:
            try:
                answer = self._incoming.get(timeout=_CALL_SECONDS)
            except queue.Empty:
                raise DeadlineExceeded(f"no answer to round {request.sequence} in {_CALL_SECONDS:.0f} s") from None
            if isinstance(answer, HydroError):
                raise answer
            # An answer to a round that was given up before is of no use any more.
            if answer.sequence == request.sequence:
                response: worker_pb.ReportMeasurementsResponse = answer
                return response

    def close(self) -> None:
        self._outgoing.put(None)
        self._responses.cancel()

    def _requests(self) -> Iterator[worker_pb.ReportMeasurementsRequest]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for response in self._responses:
                self._incoming.put(response)
            self._incoming.put(Unavailable("the coordinator ended the stream of reports"))
        except HydroError as error:
            self._incoming.put(error)
