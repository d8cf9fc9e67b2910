"""A coordinator that lives in the test's process, and a client of it."""

import threading
from concurrent import futures

import grpc
import pytest
from google.protobuf import empty_pb2

from hydro.api.coordinator.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
    trial_pb2,
)
from hydro.client import Client, choice, loguniform, minimize

SPACE = {"lr": loguniform(1e-3, 1), "batch_size": choice([64, 128])}
OPEN = trial_pb2.TRIAL_STATE_RUNNING
ENDED = (trial_pb2.TRIAL_STATE_SUCCEEDED, trial_pb2.TRIAL_STATE_PRUNED, trial_pb2.TRIAL_STATE_FAILED)


class FakeStudies(study_service_pb2_grpc.StudyServiceServicer):
    """One study, in memory."""

    def __init__(self):
        self.study = None
        self.trials = []
        self.watches_to_break = 0
        self.resume_tokens = []
        self.target_loss = None
        self.suggested, self.lock = {}, threading.Lock()
        self.streams, self.driven, self.driven_to_break = 0, [], []

    def CreateStudy(self, request, context):
        self.study = study_pb2.Study()
        self.study.CopyFrom(request.study)
        self.study.name = f"{request.parent}/studies/{request.study_id}"
        self.study.state = study_pb2.STUDY_STATE_SEARCHING
        return self.study

    def GetStudy(self, request, context):
        if self.study is None or request.name != self.study.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} does not exist")
        self.study.statistics.trials_by_state.clear()
        for trial in self.trials:
            state = trial_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_")
            self.study.statistics.trials_by_state[state] += 1
        return self.study

    def ListStudies(self, request, context):
        return study_service_pb2.ListStudiesResponse(studies=[self.study])

    def CancelStudy(self, request, context):
        self.study.state = study_pb2.STUDY_STATE_CANCELLED
        return self.study

    def DeleteStudy(self, request, context):
        self.study = None
        return empty_pb2.Empty()

    def WatchStudy(self, request, context):
        self.resume_tokens.append(request.resume_token)
        yield study_service_pb2.WatchStudyResponse(study=self.study, trials=self.trials, resume_token="r1")
        if self.watches_to_break:
            self.watches_to_break -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        ended = study_pb2.Study()
        ended.CopyFrom(self.study)
        ended.state = study_pb2.STUDY_STATE_SUCCEEDED
        yield study_service_pb2.WatchStudyResponse(study=ended, resume_token="r2")

    def TrainTarget(self, request, context):
        self.batch_ratio = request.batch_ratio
        trial = self._add(trial_pb2.TRIAL_KIND_TARGET)
        trial.hyperparameters["lr"].double_value = 0.5 if request.defaults else 0.25
        for name, value in request.hyperparameters.items():
            trial.hyperparameters[name].CopyFrom(value)
        for name, value in request.target_hyperparameters.items():
            trial.hyperparameters[name].CopyFrom(value)
        trial.seed = request.seed
        if self.target_loss is not None:
            trial.value = self.target_loss(trial.hyperparameters["lr"].double_value)
            trial.state = trial_pb2.TRIAL_STATE_SUCCEEDED
        return trial

    def GetTrial(self, request, context):
        trial = next(each for each in self.trials if each.name == request.name)
        trial.log = "hello"
        return trial

    def ListTrials(self, request, context):
        # Pages of two, to be followed.
        first = int(request.page_token or 0)
        chosen = [each for each in self.trials if request.kind in (0, each.kind)]
        following = str(first + 2) if len(chosen) > first + 2 else ""
        return study_service_pb2.ListTrialsResponse(trials=chosen[first : first + 2], next_page_token=following)

    def SuggestTrials(self, request, context):
        with self.lock:
            if request.request_id not in self.suggested:
                room = self.study.max_trials - len(self.trials)
                made = [self._add(trial_pb2.TRIAL_KIND_SEARCH) for _ in range(min(room, request.count))]
                self.suggested[request.request_id] = made
        return study_service_pb2.SuggestTrialsResponse(trials=self.suggested[request.request_id])

    def ReportMeasurement(self, request, context):
        self._trial(request.name).measurements.append(request.measurement)
        return study_service_pb2.ReportMeasurementResponse(should_stop=request.measurement.step >= 2)

    def CompleteTrial(self, request, context):
        trial = self._trial(request.name)
        outcome = request.WhichOneof("outcome")
        trial.state = ENDED[("value", "pruned", "failure").index(outcome)]
        trial.state_reason = request.failure
        if outcome == "value":
            trial.value = request.value
            told = {self.study.objective.metric: request.value, **request.metrics}
            trial.values.extend(told[each.metric] for each in (self.study.objective, *self.study.further_objectives))
            if request.metrics:
                trial.metrics.update(told)
        return trial

    def DriveTrials(self, requests, context):
        self.streams += 1
        for request in requests:
            call = request.WhichOneof("call")
            self.driven.append(request)
            if self.driven_to_break and call in self.driven_to_break:
                self.driven_to_break.remove(call)
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
            answers = study_service_pb2.DriveTrialsResponse
            if call == "suggest":
                yield answers(suggested=self.SuggestTrials(request.suggest, context))
            elif call == "report":
                yield answers(reported=self.ReportMeasurement(request.report, context))
            else:
                yield answers(completed=self.CompleteTrial(request.complete, context))

    def EnqueueTrials(self, request, context):
        self.study.known_points.extend(request.known_points)
        return self.study

    def _trial(self, name):
        return next(each for each in self.trials if each.name == name)

    def _add(self, kind):
        trial = trial_pb2.Trial(name=f"{self.study.name}/trials/{len(self.trials)}", kind=kind, state=OPEN)
        trial.hyperparameters["lr"].double_value = 0.1
        trial.hyperparameters["batch_size"].int_value = 64
        self.trials.append(trial)
        return trial


class FakeDevices(device_service_pb2_grpc.DeviceServiceServicer):
    def ListDevices(self, request, context):
        device = device_service_pb2.Device(name="devices/local-cpu-0", kind=1, state=1, cpu_cores=[0])
        return device_service_pb2.ListDevicesResponse(devices=[device])


@pytest.fixture
def studies():
    return FakeStudies()


@pytest.fixture
def client(studies):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    study_service_pb2_grpc.add_StudyServiceServicer_to_server(studies, server)
    device_service_pb2_grpc.add_DeviceServiceServicer_to_server(FakeDevices(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}") as connected:
        yield connected
    server.stop(None).wait()


@pytest.fixture
def study(client):
    return client.create_study("hand", search_space=SPACE, objective=minimize("loss"), trials=3)
