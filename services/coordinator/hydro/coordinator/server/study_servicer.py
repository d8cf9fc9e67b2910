"""StudyService: parse, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf import empty_pb2

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, study_service_pb2_grpc, trial_pb2
from hydro.api.type.v1 import bundle_pb2
from hydro.coordinator.driven import DrivenTrials
from hydro.coordinator.messages import measurement_of
from hydro.coordinator.names import ProjectName, StudyName, TrialName
from hydro.coordinator.recipe import trial_recipe
from hydro.coordinator.replaying import Replays
from hydro.coordinator.server import convert, convert_work, pages
from hydro.coordinator.server.unset_values import check_values
from hydro.coordinator.storage.storage import Storage
from hydro.coordinator.studies import Studies
from hydro.coordinator.targets import Targets
from hydro.coordinator.watching import Watches
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.kit.values import value_messages, values_of

Context = grpc.aio.ServicerContext[Any, Any]
_STUDIES_PER_PAGE = 50
_TRIALS_PER_PAGE = 100


class StudyServicer(study_service_pb2_grpc.StudyServiceServicer):
    """Studies and their trials."""

    def __init__(
        self,
        storage: Storage,
        watches: Watches,
        studies: Studies,
        targets: Targets,
        driven: DrivenTrials,
        replays: Replays,
    ) -> None:
        self._storage = storage
        self._watches = watches
        self._studies = studies
        self._targets = targets
        self._driven = driven
        self._replays = replays

    async def CreateStudy(  # noqa: N802
        self, request: study_service_pb2.CreateStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Stores a study."""
        project = ProjectName.parse(request.parent)
        spec, violations = convert.study_spec(request.study)
        tags = dict(request.study.tags)
        study = await self._studies.create(project, request.study_id, spec, request.request_id, violations, tags)
        return convert.study_message(study)

    async def GetStudy(  # noqa: N802
        self, request: study_service_pb2.GetStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Gives a study."""
        return convert.study_message(await self._studies.get(StudyName.parse(request.name)))

    async def ListStudies(  # noqa: N802
        self, request: study_service_pb2.ListStudiesRequest, context: Context
    ) -> study_service_pb2.ListStudiesResponse:
        """Gives a page of a project's studies."""
        size = pages.page_size(request.page_size, _STUDIES_PER_PAGE)
        after = pages.study_place_of(request.page_token)
        states, tags = convert.study_states(request), dict(request.tags)
        found = await self._studies.list(ProjectName.parse(request.parent), size, after, states, tags)
        token = pages.study_token(found[-1]) if len(found) == size else ""
        return study_service_pb2.ListStudiesResponse(studies=map(convert.study_message, found), next_page_token=token)

    async def GetProject(  # noqa: N802
        self, request: study_service_pb2.GetProjectRequest, context: Context
    ) -> study_service_pb2.Project:
        """Gives what a project may have, and has."""
        project = ProjectName.parse(request.name, "name")
        return convert.project_message(project, await self._studies.allowance(project))

    async def CancelStudy(  # noqa: N802
        self, request: study_service_pb2.CancelStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Ends a study."""
        return convert.study_message(await self._studies.cancel(StudyName.parse(request.name), request.etag))

    async def PauseStudy(  # noqa: N802
        self, request: study_service_pb2.PauseStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Pauses a study."""
        return convert.study_message(await self._studies.pause(StudyName.parse(request.name), request.etag))

    async def ResumeStudy(  # noqa: N802
        self, request: study_service_pb2.ResumeStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Lets a study go on."""
        return convert.study_message(await self._studies.resume(StudyName.parse(request.name), request.etag))

    async def DeleteStudy(  # noqa: N802
        self, request: study_service_pb2.DeleteStudyRequest, context: Context
    ) -> empty_pb2.Empty:
        """Forgets a study."""
        await self._studies.delete(StudyName.parse(request.name), request.etag)
        return empty_pb2.Empty()

    async def WatchStudy(  # noqa: N802
        self, request: study_service_pb2.WatchStudyRequest, context: Context
    ) -> AsyncIterator[study_service_pb2.WatchStudyResponse]:
        """Gives a study as it is, then every change."""
        name = StudyName.parse(request.name)
        async for change in self._watches.watch(name, request.resume_token):
            yield convert.change_message(change)

    async def TrainTarget(  # noqa: N802
        self, request: study_service_pb2.TrainTargetRequest, context: Context
    ) -> trial_pb2.Trial:
        """Creates a trial of the target."""
        check_values(request, "hyperparameters", "target_hyperparameters")
        hyperparameters = values_of(request.hyperparameters)
        of_target = values_of(request.target_hyperparameters)
        seed = request.seed if request.HasField("seed") else None
        name = StudyName.parse(request.name)
        trial = await self._targets.train(
            name, hyperparameters, of_target, request.defaults, seed, request.request_id, request.batch_ratio or 1.0
        )
        return convert.trial_message(trial)

    async def TagStudy(  # noqa: N802
        self, request: study_service_pb2.TagStudyRequest, context: Context
    ) -> study_pb2.Study:
        """Changes a study's tags."""
        name = StudyName.parse(request.name)
        return convert.study_message(await self._studies.tag(name, dict(request.tags), request.removed_tags))

    async def TagTrial(  # noqa: N802
        self, request: study_service_pb2.TagTrialRequest, context: Context
    ) -> trial_pb2.Trial:
        """Changes a trial's tags."""
        name = TrialName.parse(request.name)
        return convert.trial_message(await self._studies.tag_trial(name, dict(request.tags), request.removed_tags))

    async def GetTrial(  # noqa: N802
        self, request: study_service_pb2.GetTrialRequest, context: Context
    ) -> trial_pb2.Trial:
        """Gives a trial with its log."""
        name = TrialName.parse(request.name)
        return convert.trial_message(await self._storage.run(lambda tx: tx.trials.get(name)))

    async def GetTrialRecipe(  # noqa: N802
        self, request: study_service_pb2.GetTrialRecipeRequest, context: Context
    ) -> bundle_pb2.BundleRecipe:
        """Gives what runs one trial again."""
        name = TrialName.parse(request.name)
        recipe = await self._storage.run(lambda tx: trial_recipe(tx, name))
        return convert_work.recipe_message(recipe, artifact_uri="")

    async def ReplaySuggestion(  # noqa: N802
        self, request: study_service_pb2.ReplaySuggestionRequest, context: Context
    ) -> study_service_pb2.ReplaySuggestionResponse:
        """Searches a trial's suggestion once more."""
        found = await self._replays.replay(TrialName.parse(request.name))
        return study_service_pb2.ReplaySuggestionResponse(hyperparameters=value_messages(found))

    async def ListTrials(  # noqa: N802
        self, request: study_service_pb2.ListTrialsRequest, context: Context
    ) -> study_service_pb2.ListTrialsResponse:
        """Gives a page of a study's trials."""
        study = StudyName.parse(request.parent, "parent")
        query = convert.trial_query(request, pages.page_size(request.page_size, _TRIALS_PER_PAGE))
        await self._studies.get(study)
        found = await self._storage.run(lambda tx: tx.trials.list(study, query))
        token = pages.place_token(found[-1].name.number, found[-1].value) if len(found) == query.limit else ""
        return study_service_pb2.ListTrialsResponse(trials=map(convert.trial_message, found), next_page_token=token)

    async def SuggestTrials(  # noqa: N802
        self, request: study_service_pb2.SuggestTrialsRequest, context: Context
    ) -> study_service_pb2.SuggestTrialsResponse:
        """Gives new trials to a caller that trains them itself."""
        study = StudyName.parse(request.parent, "parent")
        trials = await self._driven.suggest(study, request.count, request.request_id)
        return study_service_pb2.SuggestTrialsResponse(trials=map(convert.trial_message, trials))

    async def ReportMeasurement(  # noqa: N802
        self, request: study_service_pb2.ReportMeasurementRequest, context: Context
    ) -> study_service_pb2.ReportMeasurementResponse:
        """Takes a measurement of a trial that its caller trains."""
        name = TrialName.parse(request.name)
        should_stop = await self._driven.measure(name, measurement_of(request.measurement), request.lost_runs)
        return study_service_pb2.ReportMeasurementResponse(should_stop=should_stop)

    async def EnqueueTrials(  # noqa: N802
        self, request: study_service_pb2.EnqueueTrialsRequest, context: Context
    ) -> study_pb2.Study:
        """Adds known points."""
        check_values(request, "known_points")
        points = convert.known_points(request.known_points)
        study = await self._studies.enqueue(StudyName.parse(request.name), points, request.request_id)
        return convert.study_message(study)

    async def CompleteTrial(  # noqa: N802
        self, request: study_service_pb2.CompleteTrialRequest, context: Context
    ) -> trial_pb2.Trial:
        """Ends a trial that its caller trains."""
        name = TrialName.parse(request.name)
        trial = await self._driven.complete(name, convert.outcome(request), request.lost_runs)
        return convert.trial_message(trial)

    async def RenewTrials(  # noqa: N802
        self, request: study_service_pb2.RenewTrialsRequest, context: Context
    ) -> study_service_pb2.RenewTrialsResponse:
        """Hears that callers live."""
        study = StudyName.parse(request.parent, "parent")
        lost = await self._driven.renew(study, convert.renewed_runs(request, study))
        return study_service_pb2.RenewTrialsResponse(lost_trials=[str(study.trial(run.number)) for run in lost])

    async def DriveTrials(  # noqa: N802
        self, request_iterator: AsyncIterator[study_service_pb2.DriveTrialsRequest], context: Context
    ) -> AsyncIterator[study_service_pb2.DriveTrialsResponse]:
        """Answers each call once it is stored."""
        async for request in request_iterator:
            match request.WhichOneof("call"):
                case "suggest":
                    suggested = await self.SuggestTrials(request.suggest, context)
                    yield study_service_pb2.DriveTrialsResponse(suggested=suggested)
                case "report":
                    reported = await self.ReportMeasurement(request.report, context)
                    yield study_service_pb2.DriveTrialsResponse(reported=reported)
                case "complete":
                    completed = await self.CompleteTrial(request.complete, context)
                    yield study_service_pb2.DriveTrialsResponse(completed=completed)
                case _:
                    raise InvalidArgument.of([FieldViolation("call", "is not set: give suggest, report or complete")])
