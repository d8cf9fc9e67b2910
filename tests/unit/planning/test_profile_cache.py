"""Profiles that another study of the same graph finds."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hydro.tuner.building.profile_cache import ProfileCache
from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.profile_key import profile_key
from hydro.tuner.planning.profiler import Measured
from hydro.tuner.tracing import trace
from hydro.tuner.training.lane import MemoryMiss

MEASURED = Measured(
    Profile((ProfilePoint(2, 0.5, 100, 0.1),), 0.3, misses=(MemoryMiss(4, 9),)), "2 lanes as one program"
)
CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self, width: int, slope: float = 0.1) -> None:
        super().__init__()
        self.only, self.slope = nn.Linear(4, width), slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.leaky_relu(self.only(x), self.slope)


class Renamed(Net):
    def forward(self, data: torch.Tensor) -> torch.Tensor:
        hidden = self.only(data)
        return nn.functional.leaky_relu(hidden, self.slope)


def key(model: nn.Module, samples: int = 2, dtype: torch.dtype = torch.float32, **changed: object) -> str:
    traced = trace(model.to(dtype), (torch.zeros(samples, 4, dtype=dtype),), train=True)
    given = {"optimizer": "SGD", "max_lanes": 8, "bundle_steps": 64, "device": CPU, "rules": "ab"} | changed
    return profile_key(traced, **given)


def test_what_was_measured_once_is_not_measured_again(tmp_path: Path) -> None:
    assert ProfileCache(str(tmp_path)).find("a") is None
    ProfileCache(str(tmp_path)).store("a", MEASURED)
    found = ProfileCache(str(tmp_path)).find("a")
    assert found is not None and found.profile == MEASURED.profile
    assert found.report == "2 lanes as one program (measured before)"


def test_another_key_is_measured_and_the_same_key_takes_what_is_newer(tmp_path: Path) -> None:
    cache, other = ProfileCache(str(tmp_path)), Measured(Profile(), "other")
    cache.store("a", MEASURED)
    assert cache.find("b") is None
    cache.store("a", other)
    found = cache.find("a")
    assert found is not None and found.profile == other.profile


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"profile": {"fused": 3}, "report": ""}'])
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "a.json").write_bytes(damage)
    assert ProfileCache(str(tmp_path)).find("a") is None


def test_the_same_graph_in_other_words_has_the_same_key() -> None:
    assert key(Net(8)) == key(Renamed(8))


def test_whatever_changes_the_cost_changes_the_key() -> None:
    keys = [
        key(Net(8)),
        key(Net(16)),
        key(Net(8, slope=0.2)),
        key(Net(8), samples=3),
        key(Net(8), dtype=torch.float64),
        key(Net(8), optimizer="AdamW"),
        key(Net(8), max_lanes=16),
        key(Net(8), bundle_steps=128),
        key(Net(8), rules="cd"),
    ]
    assert len(set(keys)) == len(keys)
