"""What goes into a build and comes out of it."""

from hydro.tuner.building.request import BuildRequest, BuildResult, BuiltArtifact
from hydro.tuner.planning.memory_line import MemoryMiss
from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.role import Role


def test_a_request_survives_its_journey():
    request = BuildRequest(
        "digits:Digits",
        "/tasks",
        0.125,
        {"lr": (1e-3, 1.0), "norm": (True, 1, "none")},
        "accuracy",
        "/out",
        "a.json",
        32,
        800,
        conditions={"lr": {"norm": (True, 1)}},
    )
    returned = BuildRequest.from_json(request.to_json())
    assert returned == request
    assert [type(value) for value in returned.values["norm"]] == [bool, int, str]
    assert [type(value) for value in returned.conditions["lr"]["norm"]] == [bool, int]


def test_a_result_survives_its_journey():
    result = BuildResult(
        fingerprint="sha256:1",
        width=0.125,
        warnings=("no bubbles",),
        report="64 > 8",
        parameters=10,
        target_parameters=640,
        artifact=BuiltArtifact("/out/a.json", "sha256:2", 12),
        roles={"lr": Role.OPTIMIZER, "batch_size": Role.STRUCTURAL},
        profile=Profile((ProfilePoint(1, 0.01, 100, 0.004),), 0.01, 90, 0.003, 0.5, 900, 7, (MemoryMiss(8, 500),)),
    )
    assert BuildResult.from_json(result.to_json()) == result


def test_a_failure_survives_its_journey():
    result = BuildResult(failure="the task raised")
    assert BuildResult.from_json(result.to_json()) == result
