"""No message, however wrong, makes a service fail: each is refused with its reason, and the service goes on."""

from __future__ import annotations

import importlib

import grpc
import pytest
from google.protobuf import descriptor_pb2, message_factory
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.api.type.v1 import metric_pb2, search_space_pb2

from .driving import study_request

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SERVICES = {
    "coordinator.v1.study_service": "coordinator",
    "coordinator.v1.worker_service": "coordinator",
    "coordinator.v1.device_service": "coordinator",
    "tuner.v1.tuner_service": "tuner",
    "squeezer.v1.squeezer_service": "squeezer",
    "squeezer.v1.pipeline_service": "squeezer",
}
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
"""What a caller may be told of a wrong message. UNIMPLEMENTED: a service that answers no such call here says so."""
WAITS = ("WatchStudy", "WatchDevices", "WatchSurrogate", "WatchSlots", "AcquireLease")
"""Calls that last: no answer in time is as good as one."""


def methods():
    for module, service in SERVICES.items():
        descriptor = importlib.import_module(f"hydro.api.{module}_pb2").DESCRIPTOR
        for each in descriptor.services_by_name.values():
            for method in each.methods:
                yield pytest.param(service, method, id=f"{each.name}.{method.name}")


def messages(descriptor, depth=0):
    """Any message of the type: every field of it may be there, with any value that the wire can carry."""
    strategies = {field.name: values(field, depth) for field in descriptor.fields if values(field, depth) is not None}
    make = message_factory.GetMessageClass(descriptor)

    def build(chosen):
        message = make()
        for name, value in chosen.items():
            put(message, descriptor.fields_by_name[name], value)
        return message

    return st.fixed_dictionaries({}, optional=strategies).map(build)


NAMES = st.sampled_from(
    ["", "x", "projects/p", "projects/p/studies/s", "projects/p/studies/s/trials/0", "leases/1", "devices/d",
     "projects/p/studies/s/trials/99999999999999999999", "projects/../studies/s", "devices/d/slots/0", "\x00",
     "projects/p/surrogates/s", "leases/99999999999999999999999"]
)  # fmt: skip
SCALARS = {
    "TYPE_DOUBLE": st.floats(),
    "TYPE_FLOAT": st.floats(width=32),
    "TYPE_INT64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 1]),
    "TYPE_UINT64": st.integers(0, 2**64 - 1),
    "TYPE_INT32": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-1, 0, 1]),
    "TYPE_UINT32": st.integers(0, 2**32 - 1),
    "TYPE_BOOL": st.booleans(),
    "TYPE_STRING": NAMES | st.text(st.characters(codec="utf-8"), max_size=20),
    "TYPE_BYTES": st.binary(max_size=20),
    "TYPE_ENUM": st.integers(-1, 9),
}
TYPE_NAMES = {value: name for name, value in descriptor_pb2.FieldDescriptorProto.Type.items()}


def values(field, depth):
    kind = TYPE_NAMES[field.type]
    if kind == "TYPE_MESSAGE":
        if depth == 3:
            return None
        if field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields
            inner = values(value, depth + 1)
            return None if inner is None else st.dictionaries(values(key, depth + 1), inner, max_size=2)
        one = messages(field.message_type, depth + 1)
    else:
        one = SCALARS[kind]
    return st.lists(one, max_size=2) if field.is_repeated else one


def put(message, field, value):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        for key, each in value.items():
            if field.message_type.fields_by_name["value"].message_type is None:
                getattr(message, field.name)[key] = each
            else:
                getattr(message, field.name)[key].CopyFrom(each)
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


@pytest.fixture(scope="module")
def send(running_suite):
    """Sends raw bytes to a method, and gives the status of the answer."""
    suite = running_suite.suite
    addresses = {
        "coordinator": suite.coordinator_address,
        "tuner": suite.tuner_address,
        "squeezer": suite.squeezer_address,
    }
    channels = {name: grpc.insecure_channel(address) for name, address in addresses.items()}

    def call(service, method, payload, seconds):
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            if method.server_streaming and method.client_streaming:
                next(channels[service].stream_stream(path)(iter([payload]), timeout=seconds), None)
            elif method.server_streaming:
                next(channels[service].unary_stream(path)(payload, timeout=seconds), None)
            elif method.client_streaming:
                channels[service].stream_unary(path)(iter([payload]), timeout=seconds)
            else:
                channels[service].unary_unary(path)(payload, timeout=seconds)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    yield call
    for channel in channels.values():
        channel.close()


def check(method, status, details):
    if method.name in WAITS or method.client_streaming:
        assert status in {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, *REFUSALS}, details
    else:
        assert status in {grpc.StatusCode.OK, *REFUSALS}, (status, details)


ALL_METHODS = list(methods())


@pytest.mark.parametrize(("service", "method"), ALL_METHODS)
def test_no_bytes_and_no_message_make_a_method_fail(send, service, method):
    seconds = 0.3 if method.name in WAITS or method.client_streaming else 20

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(messages(method.input_type))
    def any_message(message):
        check(method, *send(service, method, message.SerializeToString(), seconds))

    @settings(max_examples=15, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.binary(max_size=200))
    def any_bytes(payload):
        check(method, *send(service, method, payload, seconds))

    any_message()
    any_bytes()


def test_no_method_of_the_contract_is_left_out():
    assert len(ALL_METHODS) > 30


def create(change):
    request = study_request(4, 2)
    change(request.study)
    return request


def many_parameters(study):
    del study.search_space.parameters[:]
    for index in range(10_000):
        study.search_space.parameters.add(name=f"x{index}", float_domain=search_space_pb2.FloatDomain(max=1))


def long_name(study):
    study.search_space.parameters[0].name = "x" * 1_000_000


def long_metric(study):
    study.objective.metric = "x" * 1_000_000


def endless(study):
    study.search_space.parameters[0].float_domain.max = float("inf")


def not_a_number(study):
    study.surrogate_width = float("nan")


def below_zero(study):
    study.max_steps = -1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (many_parameters, "study.search_space.parameters"),
        (long_name, "study.search_space.parameters[0].name"),
        (long_metric, "study.objective.metric"),
        (endless, "study.search_space.parameters[0].float_domain.max"),
        (not_a_number, "study.surrogate_width"),
        (below_zero, "study.max_steps"),
    ],
)
def test_a_study_beyond_every_limit_is_refused_by_the_field(send, change, field):
    method = calls.DESCRIPTOR.services_by_name["StudyService"].methods_by_name["CreateStudy"]
    status, details = send("coordinator", method, create(change).SerializeToString(), 20)
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert field in details and len(details) < 10_000


def test_a_message_larger_than_the_limit_is_refused(send):
    method = calls.DESCRIPTOR.services_by_name["StudyService"].methods_by_name["CreateStudy"]
    request = create(lambda study: setattr(study, "state_reason", "x" * 5_000_000))
    assert send("coordinator", method, request.SerializeToString(), 20)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_measurements_that_are_no_numbers_fail_their_trial_and_negative_steps_are_refused(send):
    service = calls.DESCRIPTOR.services_by_name["StudyService"].methods_by_name
    created = create(lambda study: None)
    send("coordinator", service["CreateStudy"], created.SerializeToString(), 20)
    study = f"{created.parent}/studies/{created.study_id}"
    suggest = calls.SuggestTrialsRequest(parent=study, count=2, request_id="once")
    assert send("coordinator", service["SuggestTrials"], suggest.SerializeToString(), 20)[0] is grpc.StatusCode.OK

    def report(trial, step, value):
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": value})
        request = calls.ReportMeasurementRequest(name=f"{study}/trials/{trial}", measurement=measurement)
        return send("coordinator", service["ReportMeasurement"], request.SerializeToString(), 20)[0]

    assert report(0, -1, 0.5) is grpc.StatusCode.INVALID_ARGUMENT
    assert report(0, 2**62, 0.5) is grpc.StatusCode.INVALID_ARGUMENT
    assert report(0, 1, float("nan")) is grpc.StatusCode.OK
    assert report(1, 1, float("inf")) is grpc.StatusCode.OK
    assert report(1, 2, 0.5) is grpc.StatusCode.FAILED_PRECONDITION


STAMPS = {"create_time", "end_time", "update_time"}
"""What resources say of themselves; the services set them, whatever a request has there."""


def test_no_request_carries_a_time_of_its_senders_clock():
    """A clock that is an hour off cannot matter: times come from the database alone."""
    carrying = []

    def walk(descriptor, path, seen):
        for field in descriptor.fields:
            inner = field.message_type
            if inner is None or inner.full_name in seen or field.name in STAMPS:
                continue
            if inner.full_name == "google.protobuf.Timestamp":
                carrying.append(f"{path}.{field.name}")
            walk(inner, f"{path}.{field.name}", seen | {inner.full_name})

    for parameter in ALL_METHODS:
        method = parameter.values[1]
        walk(method.input_type, method.name, set())
    assert carrying == []
