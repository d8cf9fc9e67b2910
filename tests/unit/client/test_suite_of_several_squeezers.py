"""A suite of several squeezers: each GPU has its own, and the coordinator knows them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hydro.client.suite.plan import SuitePlan, children
from hydro.client.suite.ports import Addresses


def specs(squeezers: int, environment: dict[str, str], folder: Path):
    plan = SuitePlan(Addresses.standard(squeezers), folder, folder / "gates", "postgresql://", postgres=None)
    return {each.name: each for each in children(plan, environment)}


@pytest.mark.parametrize(
    ("environment", "device"),
    [({}, "devices/local-gpu"), ({"HYDRO_SQUEEZER_DEVICE": "devices/node-7"}, "devices/node-7")],
)
def test_each_has_a_gpu_an_address_and_a_device_of_its_own(tmp_path, environment, device):
    found = specs(2, environment, tmp_path)
    assert list(found) == ["tuner", "squeezer-0", "squeezer-1", "coordinator"]
    for number in range(2):
        told = found[f"squeezer-{number}"].environment
        assert told["HYDRO_SQUEEZER_DEVICE"] == f"{device}-{number}"
        assert told["HYDRO_SQUEEZER_GPU_INDEX"] == str(number)
        assert told["HYDRO_SQUEEZER_LISTEN_ADDRESS"] == f"127.0.0.1:{7402 + number}"
    assert found["squeezer-0"].log_path != found["squeezer-1"].log_path
    addresses = found["coordinator"].environment["HYDRO_COORDINATOR_SQUEEZER_ADDRESSES"]
    assert addresses == "127.0.0.1:7402,127.0.0.1:7403"


def test_a_single_one_keeps_the_device_that_it_is_given(tmp_path):
    found = specs(1, {"HYDRO_SQUEEZER_DEVICE": "devices/node-7"}, tmp_path)
    assert found["squeezer"].environment["HYDRO_SQUEEZER_DEVICE"] == "devices/node-7"
    assert found["coordinator"].environment["HYDRO_COORDINATOR_SQUEEZER_ADDRESSES"] == "127.0.0.1:7402"
