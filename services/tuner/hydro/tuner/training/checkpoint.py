"""A lane's whole state as one safetensors file.

`model/<fqn>` is a plain state_dict of the user's (shrunk) model; `optimizer/<fqn>/<slot>` and `rng` are what training
needs to go on. What is no tensor (step, schedule) is JSON in the file's header.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

_FORMAT = 1


class CheckpointInvalid(ValueError):
    """The bytes are no checkpoint of this kind, or do not fit the model."""


@dataclass(frozen=True, slots=True)
class LaneState:
    """Everything that one trial is, between two steps."""

    step: int
    """Optimizer steps done."""
    model: dict[str, Tensor]
    """The model's state_dict."""
    optimizer: dict[str, dict[str, Any]]
    """By parameter name: the optimizer's slots, tensors or numbers."""
    rng: Tensor
    """State of the trial's random numbers, as `torch.Generator.get_state` gives it."""
    schedule: Any = field(default=None)
    """What `LaneSchedule.state` gives."""
    loss_scale: dict[str, Any] = field(default_factory=dict)
    """The `state_dict` of the trial's `torch.amp.GradScaler`; empty where losses are not scaled."""
    hyperparameters: Mapping[str, Any] | None = None
    """Those that it was trained with last; None: nobody noted them."""

    def to_bytes(self) -> bytes:
        """Gives the safetensors file."""
        tensors = {f"model/{name}": tensor for name, tensor in self.model.items()}
        numbers: dict[str, dict[str, Any]] = {}
        for name, slots in self.optimizer.items():
            for slot, value in slots.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{name}/{slot}"] = value
                else:
                    numbers.setdefault(name, {})[slot] = encode(value)
        tensors["rng"] = self.rng
        header = {"format": _FORMAT, "step": self.step, "schedule": encode(self.schedule), "numbers": numbers}
        header["loss_scale"] = encode(self.loss_scale)
        header["hyperparameters"] = None if self.hyperparameters is None else encode(dict(self.hyperparameters))
        # Cloned: safetensors refuses tensors that share memory, as tied weights and rows of one stack do.
        owned = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        return save(owned, metadata={"hydro": json.dumps(header)})

    @classmethod
    def from_bytes(cls, data: bytes, device: torch.device, step: int) -> LaneState:
        """Reads the file back, its tensors on the device.

        Raises:
            CheckpointInvalid: It is no such file, or holds another number of steps than `step`.
        """
        header = _header(data)
        if header["step"] != step:
            raise CheckpointInvalid(f"the checkpoint holds {header['step']} steps, not {step}")
        model: dict[str, Tensor] = {}
        optimizer: dict[str, dict[str, Any]] = {
            name: {slot: decode(value) for slot, value in slots.items()} for name, slots in header["numbers"].items()
        }
        tensors = load(data)
        rng = tensors.pop("rng")
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if kind == "model":
                model[name] = tensor.to(device)
            else:
                name, slot = name.rsplit("/", 1)
                # Step counters stay where torch keeps them: on the CPU.
                place = tensor if slot == "step" else tensor.to(device)
                optimizer.setdefault(name, {})[slot] = place
        schedule, loss_scale = decode(header["schedule"]), decode(header.get("loss_scale", {"dict": []}))
        hyperparameters = decode(header.get("hyperparameters"))
        return cls(header["step"], model, optimizer, rng, schedule, loss_scale, hyperparameters)

    def is_trained_with(self, hyperparameters: Mapping[str, Any]) -> bool:
        """Whether it goes on with the hyperparameters that it was trained with last."""
        return self.hyperparameters is None or _exact(self.hyperparameters) == _exact(hyperparameters)


def _exact(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In Python True equals 1 and 1 equals 1.0; as hyperparameters they differ."""
    return sorted((name, repr(value)) for name, value in values.items())


def load_model(model: nn.Module, state: Mapping[str, Tensor], trial: str) -> None:
    """Fills a model from a checkpoint.

    Raises:
        CheckpointInvalid: It is another model's.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointInvalid(f"{trial}: the checkpoint does not fit the model: {error}") from error


def _header(data: bytes) -> dict[str, Any]:
    try:
        length = int.from_bytes(data[:8], "little")
        header: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["hydro"])
    except (ValueError, KeyError) as error:
        raise CheckpointInvalid(f"not a lane's checkpoint ({len(data)} bytes): {error!r}") from error
    if header.get("format") != _FORMAT:
        raise CheckpointInvalid(f"a checkpoint of format {header.get('format')}; this version reads {_FORMAT}")
    return header


def encode(value: Any) -> Any:
    """Gives plain JSON for the values that optimizers and schedules keep, so that `decode` gives them back exactly.

    Raises:
        TypeError: The value is of a kind that no checkpoint can carry.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [encode(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, dict):
        kind = "counter" if isinstance(value, Counter) else "dict"
        return {kind: [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, Tensor):
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if hasattr(value, "item"):
        return encode(value.item())
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be checkpointed: keep numbers, strings and lists")


def decode(value: Any) -> Any:
    """Undoes `encode`."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    if "tuple" in value:
        return tuple(decode(value["tuple"]))
    ((kind, pairs),) = value.items()
    decoded = {decode(key): decode(item) for key, item in pairs}
    return Counter(decoded) if kind == "counter" else decoded
