"""What a program may say of its trial, and who may say it."""

from __future__ import annotations

import stat

import pytest

from hydro.api.type.v1 import metric_pb2
from hydro.api.worker.v1 import trial_service_pb2 as pb
from hydro.api.worker.v1.trial_service_pb2_grpc import TrialServiceStub
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import InvalidArgument, Unauthenticated
from hydro.worker.command.trial_server import TrialServer


@pytest.fixture
def server():
    with TrialServer("loss", 1) as server:
        yield server


@pytest.fixture
def report(server):
    with open_sync_channel(server.address) as channel:
        stub = TrialServiceStub(channel)

        def call(token, step=1, **metrics):
            measurement = metric_pb2.Measurement(step=step, metrics=metrics or {"loss": 1.0})
            request = pb.ReportMeasurementRequest(measurement=measurement)
            metadata = [("authorization", token)] if token is not None else []
            return stub.ReportMeasurement(request, metadata=metadata, timeout=20).should_stop

        yield call


def heard(server, goes_on=True):
    said = []

    def listen(each):
        said.append(each)
        each.answer.set_result(goes_on)

    return said, server.admit(listen)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_measurement_reaches_its_trial_and_the_verdict_the_program(server, report, goes_on):
    said, token = heard(server, goes_on)
    assert report(f"Bearer {token}", step=3, loss=0.5) is not goes_on
    assert (said[0].step, said[0].metrics) == (3, {"loss": 0.5})


def test_a_token_is_good_for_its_own_trial_alone(server, report):
    first, _ = heard(server)
    second, token = heard(server)
    report(f"Bearer {token}")
    assert (len(first), len(second)) == (0, 1)


@pytest.mark.parametrize("given", [None, "", "Bearer ", "Bearer x", "Basic {token}", "{token}"])
def test_whoever_has_no_token_is_refused(server, report, given):
    said, token = heard(server)
    with pytest.raises(Unauthenticated) as caught:
        report(None if given is None else given.format(token=token))
    assert caught.value.reason == "TOKEN_REFUSED"
    assert token not in str(caught.value)
    assert said == []


def test_a_token_that_was_revoked_is_refused(server, report):
    said, token = heard(server)
    server.revoke(token)
    with pytest.raises(Unauthenticated, match="goes on elsewhere"):
        report(f"Bearer {token}")
    assert said == []


def test_the_token_of_another_lease_is_refused(report):
    with TrialServer("loss", 1) as other:
        _, token = heard(other)
        with pytest.raises(Unauthenticated):
            report(f"Bearer {token}")


def test_only_digests_of_tokens_are_kept(server):
    _, token = heard(server)
    assert token not in repr(vars(server))


@pytest.mark.parametrize(
    ("step", "metrics", "field"),
    [(-1, {"loss": 1.0}, "measurement.step"), (1, {"accuracy": 1.0}, "measurement.metrics")],
)
def test_a_wrong_measurement_is_refused_by_name(server, report, step, metrics, field):
    said, token = heard(server)
    with pytest.raises(InvalidArgument) as caught:
        report(f"Bearer {token}", step=step, **metrics)
    assert [each.field for each in caught.value.violations] == [field]
    assert said == []


def test_only_the_workers_user_reaches_the_socket(server):
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
