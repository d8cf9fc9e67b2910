"""Small float64 versions of the examples, and trainers for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.checkpoint import LaneState
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.trainer import BundleTrainer

EXAMPLES = Path(__file__).parents[3] / "examples"

NewTrainer = Callable[..., BundleTrainer]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _example(name: str, sizes: Mapping[str, int]) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"small_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for constant, value in sizes.items():
        setattr(module, constant, value)
    return module


@pytest.fixture(scope="session")
def digits() -> type[TrainingTask]:
    module = _example("digits", {"TRAINING_SAMPLES": 200})

    class SmallDigits(module.Digits):
        precision = "float64"
        defaults = {**module.Digits.defaults, "channels": 16}

        def validation_batches(self, hp: Any) -> Any:
            images, labels = super().validation_batches(hp)[0]
            # Parts of different length, so that averages must go by samples.
            return [(images[:60], labels[:60]), (images[60:80], labels[60:80])]

    return SmallDigits


@pytest.fixture(scope="session")
def char_lm() -> type[TrainingTask]:
    module = _example("char_lm", {"HEADS": 4, "CONTEXT": 8})

    class SmallLanguageModel(module.CharacterLanguageModel):
        precision = "float64"
        defaults = {
            **module.CharacterLanguageModel.defaults,
            "batch_size": 4,
            "warmup_fraction": 0.3,
            "width": 32,
            "steps": 20,
        }

        def validation_batches(self, hp: Any) -> Any:
            return super().validation_batches(hp)[:1]

    return SmallLanguageModel


@pytest.fixture
def new_trainer() -> NewTrainer:
    def new(task: TrainingTask, lanes: Sequence[LaneSpec], *, fused: bool, width: float = 1.0) -> BundleTrainer:
        trainer = build_trainer(
            task,
            width=width,
            solution=None,
            execution=Execution.FUSED if fused else Execution.SEPARATE,
            lanes=lanes,
            data_seed=7,
            gate=OpenGate(),
        )
        assert trainer.fusion_count == (len(lanes) if fused else 1), trainer.report
        return trainer

    return new


def _states(trainer: BundleTrainer) -> dict[str, LaneState]:
    device = torch.device("cpu")
    return {
        lane.trial: LaneState.from_bytes(trainer.checkpoint(lane.trial), device, lane.step) for lane in trainer.lanes
    }


def _difference(one: Any, other: Any) -> float:
    return float((torch.as_tensor(one).double() - torch.as_tensor(other).double()).abs().max())


def _numbers(tree: Any) -> list[float]:
    """The numbers of a nested value; a plateau's best objective may differ in its last bit."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [number for item in tree for number in _numbers(item)]
    return [float(tree)] if isinstance(tree, int | float) else []


@pytest.fixture
def assert_equal_lanes() -> Callable[[BundleTrainer, BundleTrainer], None]:
    """Weights, buffers, optimizer slots, random numbers and schedules of the lanes that both have are the same."""

    def check(one: BundleTrainer, other: BundleTrainer) -> None:
        states, others = _states(one), _states(other)
        shared = states.keys() & others.keys()
        assert shared
        for trial in shared:
            mine, theirs = states[trial], others[trial]
            assert mine.step == theirs.step
            assert mine.model.keys() == theirs.model.keys()
            assert mine.optimizer.keys() == theirs.optimizer.keys()
            for name, tensor in mine.model.items():
                assert _difference(tensor, theirs.model[name]) < 1e-10, f"{trial} {name}"
            for name, slots in mine.optimizer.items():
                assert slots.keys() == theirs.optimizer[name].keys()
                for slot, value in slots.items():
                    assert _difference(value, theirs.optimizer[name][slot]) < 1e-10, f"{trial} {name} {slot}"
            assert torch.equal(mine.rng, theirs.rng)
            assert _numbers(mine.schedule) == pytest.approx(_numbers(theirs.schedule), abs=1e-12)

    return check
