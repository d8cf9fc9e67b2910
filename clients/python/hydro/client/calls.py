"""The services' methods, with values in and out: what a servicer is on the other side."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import grpc

from hydro.api.coordinator.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
    trial_pb2,
)
from hydro.api.tuner.v1 import tuner_service_pb2, tuner_service_pb2_grpc
from hydro.client import convert
from hydro.client.convert_measurement import measurement_message
from hydro.client.convert_surrogate import surrogate_value
from hydro.client.driving import TrialStreams
from hydro.client.names import StudyName, TrialName
from hydro.client.renewing import Renewals, Run
from hydro.client.snapshots import (
    DeviceKind,
    DeviceSnapshot,
    ProjectSnapshot,
    StudyChange,
    StudySettings,
    StudySnapshot,
    StudyState,
    TrialKind,
    TrialOrder,
    TrialSnapshot,
    TrialState,
)
from hydro.client.spaces import Scalar
from hydro.client.surrogates import Surrogate
from hydro.kit.channel import USER_RETRY_SECONDS, open_sync_channel
from hydro.kit.values import values_of

_PAGE_SIZE = 1000
_ORDERS = {
    TrialOrder.NUMBER: study_service_pb2.TRIAL_ORDER_UNSPECIFIED,
    TrialOrder.NEWEST: study_service_pb2.TRIAL_ORDER_NUMBER_DESCENDING,
    TrialOrder.LOWEST: study_service_pb2.TRIAL_ORDER_VALUE_ASCENDING,
    TrialOrder.HIGHEST: study_service_pb2.TRIAL_ORDER_VALUE_DESCENDING,
}
_KINDS = {None: trial_pb2.TRIAL_KIND_UNSPECIFIED, TrialKind.SEARCH: trial_pb2.TRIAL_KIND_SEARCH,
          TrialKind.TARGET: trial_pb2.TRIAL_KIND_TARGET}  # fmt: skip


class CoordinatorCalls:
    """StudyService and DeviceService. Every method raises `hydro.kit.errors`."""

    def __init__(self, address: str) -> None:
        self._channel: grpc.Channel = open_sync_channel(address, retry_seconds=USER_RETRY_SECONDS)
        self._studies = study_service_pb2_grpc.StudyServiceStub(self._channel)
        self._devices = device_service_pb2_grpc.DeviceServiceStub(self._channel)
        self._driving = TrialStreams(self._studies.DriveTrials)
        self.renewals = Renewals(self._renew_trials)

    def close(self) -> None:
        """Closes the connection."""
        self.renewals.close()
        self._driving.close()
        self._channel.close()

    def leave(self) -> None:
        """This thread drives no trial any more."""
        self._driving.leave()

    def create_study(self, name: StudyName, settings: StudySettings) -> StudySnapshot:
        """CreateStudy."""
        request = study_service_pb2.CreateStudyRequest(
            parent=f"projects/{name.project}",
            study_id=name.study,
            study=convert.study_message(settings),
            request_id=_request_id(),
        )
        return convert.study_snapshot(self._studies.CreateStudy(request))

    def get_study(self, name: StudyName) -> StudySnapshot:
        """GetStudy."""
        return convert.study_snapshot(self._studies.GetStudy(study_service_pb2.GetStudyRequest(name=str(name))))

    def list_studies(
        self, project: str, states: Sequence[StudyState], tags: Mapping[str, str], limit: int | None = None
    ) -> Iterator[StudySnapshot]:
        """ListStudies, page by page, until there are `limit`."""
        numbers = [study_pb2.StudyState.Value(f"STUDY_STATE_{each.name}") for each in states]
        request = study_service_pb2.ListStudiesRequest(
            parent=f"projects/{project}", page_size=_page_size(limit), states=numbers, tags=tags
        )
        studies = (each for page in _pages(self._studies.ListStudies, request) for each in page.studies)
        yield from (convert.study_snapshot(each) for each in islice(studies, limit))

    def get_project(self, project: str) -> ProjectSnapshot:
        """GetProject."""
        request = study_service_pb2.GetProjectRequest(name=f"projects/{project}")
        return convert.project_snapshot(self._studies.GetProject(request))

    def cancel_study(self, name: StudyName) -> StudySnapshot:
        """CancelStudy, in whatever state it is."""
        return convert.study_snapshot(self._studies.CancelStudy(study_service_pb2.CancelStudyRequest(name=str(name))))

    def pause_study(self, name: StudyName) -> StudySnapshot:
        """PauseStudy."""
        return convert.study_snapshot(self._studies.PauseStudy(study_service_pb2.PauseStudyRequest(name=str(name))))

    def resume_study(self, name: StudyName) -> StudySnapshot:
        """ResumeStudy."""
        return convert.study_snapshot(self._studies.ResumeStudy(study_service_pb2.ResumeStudyRequest(name=str(name))))

    def delete_study(self, name: StudyName) -> None:
        """DeleteStudy."""
        self._studies.DeleteStudy(study_service_pb2.DeleteStudyRequest(name=str(name)))

    def watch_study(self, name: StudyName, resume_token: str = "") -> Iterator[StudyChange]:
        """WatchStudy: one stream, which ends or breaks with the connection."""
        request = study_service_pb2.WatchStudyRequest(name=str(name), resume_token=resume_token)
        for message in self._studies.WatchStudy(request):
            yield convert.study_change(message)

    def train_target(
        self,
        name: StudyName,
        hyperparameters: Mapping[str, Scalar],
        target_hyperparameters: Mapping[str, Scalar] | None,
        defaults: bool,
        seed: int | None,
        batch_ratio: float,
    ) -> TrialSnapshot:
        """TrainTarget; warns where the batch is another one."""
        if batch_ratio != 1:
            samples = f"a step of the target has {batch_ratio:g} times the surrogate's samples"
            warnings.warn(f"{samples}: its numbers follow rules of thumb, and do not transfer", stacklevel=3)
        request = study_service_pb2.TrainTargetRequest(
            name=str(name),
            hyperparameters=convert.checked_values_message(hyperparameters, "hyperparameters"),
            target_hyperparameters=convert.checked_values_message(
                target_hyperparameters or {}, "target_hyperparameters"
            ),
            defaults=defaults,
            seed=seed,
            batch_ratio=batch_ratio,
            request_id=_request_id(),
        )
        return convert.trial_snapshot(self._studies.TrainTarget(request))

    def get_trial(self, name: TrialName) -> TrialSnapshot:
        """GetTrial: the only one that carries the log."""
        return convert.trial_snapshot(self._studies.GetTrial(study_service_pb2.GetTrialRequest(name=str(name))))

    def list_trials(
        self,
        name: StudyName,
        kind: TrialKind | None = None,
        states: Sequence[TrialState] = (),
        tags: Mapping[str, str] | None = None,
        order: TrialOrder = TrialOrder.NUMBER,
        limit: int | None = None,
    ) -> Iterator[TrialSnapshot]:
        """ListTrials, page by page, until there are `limit`."""
        request = study_service_pb2.ListTrialsRequest(
            parent=str(name),
            page_size=_page_size(limit),
            kind=_KINDS[kind],
            states=[trial_pb2.TrialState.Value(f"TRIAL_STATE_{each.name}") for each in states],
            tags=tags or {},
            order=_ORDERS[order],
        )
        trials = (each for page in _pages(self._studies.ListTrials, request) for each in page.trials)
        yield from (convert.trial_snapshot(each) for each in islice(trials, limit))

    def tag_study(self, name: StudyName, tags: Mapping[str, str], removed: Sequence[str]) -> StudySnapshot:
        """TagStudy."""
        request = study_service_pb2.TagStudyRequest(name=str(name), tags=tags, removed_tags=removed)
        return convert.study_snapshot(self._studies.TagStudy(request))

    def tag_trial(self, name: TrialName, tags: Mapping[str, str], removed: Sequence[str]) -> TrialSnapshot:
        """TagTrial."""
        request = study_service_pb2.TagTrialRequest(name=str(name), tags=tags, removed_tags=removed)
        return convert.trial_snapshot(self._studies.TagTrial(request))

    def replay_suggestion(self, name: TrialName) -> dict[str, Scalar]:
        """ReplaySuggestion."""
        request = study_service_pb2.ReplaySuggestionRequest(name=str(name))
        return values_of(self._studies.ReplaySuggestion(request).hyperparameters)

    def enqueue_trials(self, name: StudyName, points: Sequence[Mapping[str, Scalar]]) -> StudySnapshot:
        """EnqueueTrials."""
        request = study_service_pb2.EnqueueTrialsRequest(
            name=str(name), known_points=convert.known_points_message(points, "known_points"), request_id=_request_id()
        )
        return convert.study_snapshot(self._studies.EnqueueTrials(request, wait_for_ready=True))

    def suggest_trials(self, name: StudyName, count: int) -> list[TrialSnapshot]:
        """SuggestTrials: fewer than asked for at the study's limits."""
        request = study_service_pb2.SuggestTrialsRequest(parent=str(name), count=count, request_id=_request_id())
        answer = self._driving.exchange(study_service_pb2.DriveTrialsRequest(suggest=request))
        return [convert.trial_snapshot(each) for each in answer.suggested.trials]

    def report_measurement(
        self, run: Run, step: int, metrics: Mapping[str, float], elapsed_seconds: float | None = None
    ) -> bool:
        """ReportMeasurement: whether the trial should stop."""
        name, lost_runs = run
        measurement = measurement_message(step, metrics, elapsed_seconds)
        request = study_service_pb2.ReportMeasurementRequest(
            name=str(name), measurement=measurement, lost_runs=lost_runs
        )
        answer = self._driving.exchange(study_service_pb2.DriveTrialsRequest(report=request))
        return answer.reported.should_stop

    def complete_trial(self, run: Run, value: float, metrics: Mapping[str, float]) -> TrialSnapshot:
        """CompleteTrial with the final objective, and with further metrics."""
        return self._complete(run, study_service_pb2.CompleteTrialRequest(value=value, metrics=metrics))

    def fail_trial(self, run: Run, failure: str) -> TrialSnapshot:
        """CompleteTrial with a failure."""
        return self._complete(run, study_service_pb2.CompleteTrialRequest(failure=failure))

    def prune_trial(self, run: Run) -> TrialSnapshot:
        """CompleteTrial as pruned."""
        return self._complete(run, study_service_pb2.CompleteTrialRequest(pruned=True))

    def list_devices(self) -> Iterator[DeviceSnapshot]:
        """ListDevices, page by page."""
        request = device_service_pb2.ListDevicesRequest(page_size=_PAGE_SIZE)
        for page in _pages(self._devices.ListDevices, request):
            yield from (convert.device_snapshot(each) for each in page.devices)

    def register_device(self, name: str, kind: DeviceKind, cpu_cores: Sequence[int]) -> DeviceSnapshot:
        """RegisterDevice."""
        device = convert.device_message(name, kind, cpu_cores)
        request = device_service_pb2.RegisterDeviceRequest(device=device, request_id=_request_id())
        return convert.device_snapshot(self._devices.RegisterDevice(request))

    def drain_device(self, name: str) -> DeviceSnapshot:
        """DrainDevice."""
        return convert.device_snapshot(self._devices.DrainDevice(device_service_pb2.DrainDeviceRequest(name=name)))

    def _complete(self, run: Run, request: study_service_pb2.CompleteTrialRequest) -> TrialSnapshot:
        request.name, request.lost_runs = str(run[0]), run[1]
        answer = self._driving.exchange(study_service_pb2.DriveTrialsRequest(complete=request))
        self.renewals.drop(run)
        return convert.trial_snapshot(answer.completed)

    def _renew_trials(self, study: StudyName, runs: Collection[Run]) -> set[TrialName]:
        trials = [study_service_pb2.RenewedTrial(name=str(name), lost_runs=lost) for name, lost in runs]
        answer = self._studies.RenewTrials(study_service_pb2.RenewTrialsRequest(parent=str(study), trials=trials))
        return {TrialName.parse(each) for each in answer.lost_trials}


class TunerCalls:
    """TunerService, as far as the SDK needs it."""

    def __init__(self, address: str) -> None:
        self._channel: grpc.Channel = open_sync_channel(address, retry_seconds=USER_RETRY_SECONDS)
        self._tuner = tuner_service_pb2_grpc.TunerServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def get_surrogate(self, name: str) -> Surrogate:
        """GetSurrogate."""
        return surrogate_value(self._tuner.GetSurrogate(tuner_service_pb2.GetSurrogateRequest(name=name)))


def _request_id() -> str:
    return str(uuid.uuid4())


def _page_size(limit: int | None) -> int:
    return min(_PAGE_SIZE, limit or _PAGE_SIZE)


def _pages(method: Any, request: Any) -> Iterator[Any]:
    while True:
        page = method(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
