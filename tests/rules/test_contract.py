"""Everything the contract declares is served."""

import importlib
import inspect

import pytest

from hydro.api.coordinator.v1 import device_service_pb2, study_service_pb2, worker_service_pb2
from hydro.api.squeezer.v1 import pipeline_service_pb2, squeezer_service_pb2
from hydro.api.tuner.v1 import tuner_service_pb2

SERVED_BY = [
    (study_service_pb2, "StudyService", "hydro.coordinator.server.study_servicer", "StudyServicer"),
    (worker_service_pb2, "WorkerService", "hydro.coordinator.server.worker_servicer", "WorkerServicer"),
    (device_service_pb2, "DeviceService", "hydro.coordinator.server.device_servicer", "DeviceServicer"),
    (tuner_service_pb2, "TunerService", "hydro.tuner.server.tuner_servicer", "TunerServicer"),
    (squeezer_service_pb2, "SqueezerService", "hydro.squeezer.server.squeezer_servicer", "SqueezerServicer"),
    (pipeline_service_pb2, "PipelineService", "hydro.squeezer.server.pipeline_servicer", "PipelineServicer"),
]


@pytest.mark.parametrize(("contract", "service", "module", "servicer"), SERVED_BY, ids=[each[1] for each in SERVED_BY])
def test_every_method_of_the_contract_is_served(contract, service, module, servicer) -> None:
    served = getattr(importlib.import_module(module), servicer)
    declared = {method.name for method in contract.DESCRIPTOR.services_by_name[service].methods}
    own = {name for name, _ in inspect.getmembers(served, inspect.isfunction) if name in vars(served)}
    assert declared - own == set()
