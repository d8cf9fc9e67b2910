from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn
from torch.optim import lr_scheduler

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.checkpoint import CheckpointInvalid, LaneState, decode, encode
from hydro.tuner.training.schedules import Change, LaneSchedule

CPU = torch.device("cpu")

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.integers() | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=10,
)


@given(values)
def test_what_schedules_keep_survives_json_exactly(value: Any) -> None:
    assert decode(json.loads(json.dumps(encode(value)))) == value


def test_counters_and_tensors_survive_json() -> None:
    milestones = decode(json.loads(json.dumps(encode(Counter({10: 1, 20: 2})))))
    assert type(milestones) is Counter
    assert milestones == {10: 1, 20: 2}
    rate = torch.tensor([0.1, 1 / 3], dtype=torch.float64)
    assert torch.equal(decode(json.loads(json.dumps(encode(rate)))), rate)


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(TypeError, match="cannot be checkpointed"):
        encode({"function": print})


def _state() -> LaneState:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    slots = {name: optimizer.state[parameter] for name, parameter in model.named_parameters()}
    return LaneState(4, model.state_dict(), slots, torch.Generator().get_state(), {"scheduler": {"last_epoch": 4}})


def test_a_lane_survives_its_file() -> None:
    state = _state()
    read = LaneState.from_bytes(state.to_bytes(), CPU, 4)
    nn.Linear(3, 2).load_state_dict(read.model)
    assert read.step == 4
    assert read.schedule == state.schedule
    assert torch.equal(read.rng, state.rng)
    for name, slots in state.optimizer.items():
        for slot, value in slots.items():
            assert torch.equal(read.optimizer[name][slot], value)


def test_the_model_in_the_file_is_a_plain_state_dict() -> None:
    tensors = load(_state().to_bytes())
    assert {key for key in tensors if key.startswith("model/")} == {"model/weight", "model/bias"}


def test_tied_weights_are_stored_under_each_name() -> None:
    weight = torch.ones(2, 2)
    state = LaneState(0, {"one": weight, "other": weight}, {}, torch.Generator().get_state())
    assert LaneState.from_bytes(state.to_bytes(), CPU, 0).model.keys() == {"one", "other"}


@pytest.mark.parametrize("data", [b"", b"torch", save({"weight": torch.ones(1)})])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointInvalid, match="not a lane's checkpoint"):
        LaneState.from_bytes(data, CPU, 0)


def test_a_checkpoint_of_another_step_is_refused() -> None:
    with pytest.raises(CheckpointInvalid, match="holds 4 steps, not 5"):
        LaneState.from_bytes(_state().to_bytes(), CPU, 5)


SCHEDULES: dict[str, Any] = {
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.5),
    "milestones": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [2, 5]),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 9),
    "one_cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=20),
    "sequence": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        [3],
    ),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
}


class Scheduled(TrainingTask):
    def __init__(self, name: str) -> None:
        self._new = SCHEDULES[name]

    def optimizer(self, model: nn.Module, hp: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=hp["lr"], momentum=0.9)

    def lr_scheduler(self, optimizer: torch.optim.Optimizer, hp: Any) -> Any:
        return self._new(optimizer)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_from_its_checkpoint_as_if_undisturbed(name: str) -> None:
    template = nn.Linear(2, 2)
    undisturbed, before, resumed = (LaneSchedule(Scheduled(name), template, {"lr": 0.1}) for _ in range(3))
    for _ in range(4):
        undisturbed.advance()
        before.advance()
    resumed.load(decode(json.loads(json.dumps(encode(before.state())))))
    for _ in range(6):
        assert resumed.advance() is undisturbed.advance()
        assert resumed.groups() == undisturbed.groups()


def test_a_schedule_says_what_it_changed() -> None:
    template = nn.Linear(2, 2)
    assert LaneSchedule(Scheduled("cosine"), template, {"lr": 0.1}).advance() is Change.LEARNING_RATES
    assert LaneSchedule(Scheduled("step"), template, {"lr": 0.1}).advance() is Change.NOTHING
    assert LaneSchedule(Scheduled("one_cycle"), template, {"lr": 0.1}).advance() is Change.OTHERS


def test_a_shadow_never_moves_a_weight() -> None:
    template = nn.Linear(2, 2)
    before = template.weight.clone()
    LaneSchedule(Scheduled("cosine"), template, {"lr": 0.1}).advance()
    assert torch.equal(template.weight, before)
