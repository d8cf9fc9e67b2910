"""One error class on both sides of the wire, for every kind of call and channel."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import empty_pb2

from hydro.api.coordinator.v1 import (
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from hydro.kit import errors
from hydro.kit.channel import open_channel, open_sync_channel
from hydro.kit.errors import FieldViolation, HydroError, InvalidArgument, Unavailable, from_rpc_error
from hydro.kit.interceptors import ServerCalls

ERRORS = [
    error_class("three words here", reason="LEASE_LOST", metadata={"lease": "leases/3"})
    for error_class in (
        errors.NotFound, errors.AlreadyExists, errors.FailedPrecondition, errors.Aborted, errors.OutOfRange,
        errors.ResourceExhausted, errors.DeadlineExceeded, errors.Cancelled, errors.Internal,
    )
] + [InvalidArgument.of([FieldViolation("study.width", "is 2: must be at most 1")])]  # fmt: skip


class Raising(study_service_pb2_grpc.StudyServiceServicer, worker_service_pb2_grpc.WorkerServiceServicer):
    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def GetStudy(self, request, context):
        if self.error:
            raise self.error
        return study_pb2.Study(name=request.name)

    async def WatchStudy(self, request, context):
        yield study_service_pb2.WatchStudyResponse(resume_token="1")
        if self.error:
            raise self.error

    async def ReportMeasurements(self, request_iterator, context):
        async for request in request_iterator:
            yield worker_service_pb2.ReportMeasurementsResponse(sequence=request.sequence)
            if self.error:
                raise self.error


class Unwell(Raising):
    """Breaks what is opened before it has answered."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.opened: list[str] = []

    async def WatchStudy(self, request, context):
        self.opened.append("WatchStudy")
        raise self.error
        yield

    async def ReportMeasurements(self, request_iterator, context):
        self.opened.append("ReportMeasurements")
        raise self.error
        yield


@contextlib.asynccontextmanager
async def serving(servicer: Raising) -> AsyncIterator[str]:
    server = grpc.aio.server(interceptors=[ServerCalls()])
    study_service_pb2_grpc.add_StudyServiceServicer_to_server(servicer, server)
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def assert_same(seen: HydroError, sent: HydroError) -> None:
    assert type(seen) is type(sent)
    assert (seen.message, seen.reason, seen.metadata, seen.violations) == (
        sent.message, sent.reason, sent.metadata, sent.violations,
    )  # fmt: skip


@pytest.mark.parametrize("sent", ERRORS, ids=lambda error: type(error).__name__)
async def test_an_asynchronous_caller_sees_the_error_that_the_server_raised(sent: HydroError) -> None:
    async with serving(Raising(sent)) as address, open_channel(address) as channel:
        studies = study_service_pb2_grpc.StudyServiceStub(channel)
        with pytest.raises(HydroError) as unary:
            await studies.GetStudy(study_service_pb2.GetStudyRequest(name="a"))
        assert_same(unary.value, sent)
        with pytest.raises(HydroError) as stream:
            async for response in studies.WatchStudy(study_service_pb2.WatchStudyRequest()):
                assert response.resume_token == "1"
        assert_same(stream.value, sent)


async def test_a_stream_both_ways_answers_and_then_raises() -> None:
    sent = ERRORS[2]
    async with serving(Raising(sent)) as address, open_channel(address) as channel:
        call = worker_service_pb2_grpc.WorkerServiceStub(channel).ReportMeasurements()
        await call.write(worker_service_pb2.ReportMeasurementsRequest(sequence=7))
        assert (await call.read()).sequence == 7
        with pytest.raises(HydroError) as seen:
            await call.read()
        assert_same(seen.value, sent)


@pytest.mark.parametrize("sent", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_blocking_caller_sees_the_error_that_the_server_raised(sent: HydroError) -> None:
    def call(address: str) -> None:
        with open_sync_channel(address) as channel:
            studies = study_service_pb2_grpc.StudyServiceStub(channel)
            with pytest.raises(HydroError) as unary:
                studies.GetStudy(study_service_pb2.GetStudyRequest(name="a"))
            assert_same(unary.value, sent)
            with pytest.raises(HydroError) as stream:
                list(studies.WatchStudy(study_service_pb2.WatchStudyRequest()))
            assert_same(stream.value, sent)
            workers = worker_service_pb2_grpc.WorkerServiceStub(channel)
            with pytest.raises(HydroError) as duplex:
                list(workers.ReportMeasurements(iter([worker_service_pb2.ReportMeasurementsRequest(sequence=1)])))
            assert_same(duplex.value, sent)

    async with serving(Raising(sent)) as address:
        await asyncio.to_thread(call, address)


def opened(channel):
    """One stream of each kind."""
    report = worker_service_pb2.ReportMeasurementsRequest()
    yield study_service_pb2_grpc.StudyServiceStub(channel).WatchStudy(study_service_pb2.WatchStudyRequest())
    yield worker_service_pb2_grpc.WorkerServiceStub(channel).ReportMeasurements(iter([report]))


async def test_a_stream_that_breaks_is_opened_again_by_nobody_but_its_caller() -> None:
    """gRPC's own second attempt of one whose server was killed may wait for ever."""

    def read(address: str) -> None:
        with open_sync_channel(address) as channel:
            for stream in opened(channel):
                with pytest.raises(Unavailable):
                    list(stream)

    unwell = Unwell(Unavailable("stopping"))
    async with serving(unwell) as address, open_channel(address) as channel:
        for stream in opened(channel):
            with pytest.raises(Unavailable):
                _ = [answer async for answer in stream]
        await asyncio.to_thread(read, address)
    assert unwell.opened == ["WatchStudy", "ReportMeasurements"] * 2


async def test_an_answer_comes_through() -> None:
    async with serving(Raising(None)) as address, open_channel(address) as channel:
        studies = study_service_pb2_grpc.StudyServiceStub(channel)
        study = await studies.GetStudy(study_service_pb2.GetStudyRequest(name="projects/a/studies/b"))
        assert study.name == "projects/a/studies/b"


async def test_a_fault_becomes_internal_and_hides_its_words() -> None:
    async with serving(Raising(KeyError("secret"))) as address, open_channel(address) as channel:
        with pytest.raises(errors.Internal) as seen:
            await study_service_pb2_grpc.StudyServiceStub(channel).GetStudy(study_service_pb2.GetStudyRequest())
        assert "secret" not in str(seen.value)


async def test_a_call_without_a_deadline_ends_at_the_servers() -> None:
    class Slow(study_service_pb2_grpc.StudyServiceServicer):
        async def GetStudy(self, request, context):
            await asyncio.Event().wait()

    server = grpc.aio.server(interceptors=[ServerCalls(longest_unary_seconds=0.05)])
    study_service_pb2_grpc.add_StudyServiceServicer_to_server(Slow(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as seen:
            await study_service_pb2_grpc.StudyServiceStub(channel).GetStudy(study_service_pb2.GetStudyRequest())
    await server.stop(None)
    assert seen.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_connection_that_breaks_while_a_message_is_sent_is_unavailable() -> None:
    nothing = grpc.aio.Metadata()
    said = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, nothing, nothing, "Internal error from Core")
    assert type(from_rpc_error(said)) is Unavailable


async def test_no_server_is_unavailable() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(errors.Unavailable):
            await study_service_pb2_grpc.StudyServiceStub(channel).GetStudy(
                study_service_pb2.GetStudyRequest(), timeout=20
            )


def test_the_empty_message_is_the_standard_one() -> None:
    assert worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].methods_by_name[
        "ReleaseLease"
    ].output_type.full_name == empty_pb2.Empty.DESCRIPTOR.full_name  # fmt: skip


class Overloaded(study_service_pb2_grpc.StudyServiceServicer):
    def __init__(self, refusals: int, retry_seconds: float) -> None:
        self.refusals = refusals
        self.retry_seconds = retry_seconds

    async def GetStudy(self, request, context):
        if self.refusals:
            self.refusals -= 1
            raise errors.ResourceExhausted("too many calls", retry_seconds=self.retry_seconds)
        return study_pb2.Study(name=request.name)


@pytest.mark.parametrize(("refusals", "retry_seconds"), [(2, 0.05), (100, 60.0)])
async def test_an_overloaded_service_is_asked_again_after_the_pause_that_it_asks_for(refusals, retry_seconds) -> None:
    server = grpc.aio.server(interceptors=[ServerCalls()])
    overloaded = Overloaded(refusals, retry_seconds)
    study_service_pb2_grpc.add_StudyServiceServicer_to_server(overloaded, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        studies = study_service_pb2_grpc.StudyServiceStub(channel)
        call = studies.GetStudy(study_service_pb2.GetStudyRequest(name="a"))
        if refusals == 2:
            assert (await call).name == "a"
        else:
            with pytest.raises(errors.ResourceExhausted) as seen:
                await call
            # It would take longer than who calls is patient.
            assert seen.value.retry_seconds == pytest.approx(60) and overloaded.refusals == 99
    await server.stop(None)
