"""What a command is given: a model by the name of its factory, and the shapes of its inputs."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.task import TrainingTask

_MISSING_OPERATOR = re.compile(r"operator (?P<library>\w+)::\w+ does not exist")
"""What torch says of a library whose compiled operators were not loaded, since they want another torch."""

_INPUT = re.compile(r"(?P<shape>\d+(x\d+)*)(:(?P<dtype>[a-z]+\d*))?(<(?P<below>\d+))?")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Makes models of one architecture, and the inputs of one."""

    make: Callable[[], nn.Module]
    """Gives a new one with initial values of its own."""
    inputs: tuple[Any, ...]
    description: str
    """The inputs, as they were given or found."""
    at_width: Callable[[float], nn.Module] | None = None
    """Gives one at a width in (0, 1], where the factory is a function of the width."""
    task: TrainingTask | None = None
    """Whose model it is, where the name is that of a task."""


def load_source(name: str, inputs: Sequence[str]) -> ModelSource:
    """Finds a factory, or a TrainingTask, and its inputs.

    Args:
        name: "module:factory"; what it gives is a module, or a module and a tuple of its inputs. A function of nothing
            but `width` gives the model at a width in (0, 1]. The current folder is on the import path.
        inputs: For each input of the model, its shape and, if it is not of float32, its type and the number that
            integers stay below: "8x3x32x32", "8x128:int64<50257". None: those that the factory gives, or found by
            trying what the model's first layer takes.

    Raises:
        InvalidArgument: there is no such factory, it gives no module, or the model does not take these inputs.
    """
    found = _import(name)
    if inspect.isclass(found) and issubclass(found, TrainingTask):
        return _of_task(found())
    at_width: Callable[[float], nn.Module] | None = None
    if _takes_width(found):
        at_width, found = found, partial(found, 1.0)
    made = _call(name, found)
    given: tuple[Any, ...] = ()
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], tuple):
        made, given = made
    if not isinstance(made, nn.Module):
        raise _wrong("factory", f"{name!r} gives a {type(made).__name__}, not a torch.nn.Module")

    def make() -> nn.Module:
        again = _call(name, found)
        model: nn.Module = again[0] if isinstance(again, tuple) else again
        return model

    if inputs:
        given = tuple(parse_input(text, made) for text in inputs)
    elif not given:
        given = _found_inputs(made)
    _require_accepted(made, given)
    return ModelSource(make, given, ", ".join(_describe(each) for each in given), at_width)


def parse_input(text: str, model: nn.Module | None = None) -> Tensor:
    """Draws an input of a shape and type: "8x3x32x32", "8x128:int64<50257".

    Args:
        text: The shape; after a colon the type, after a "<" the number that integers stay below.
        model: Without that number, integers stay below the size of this model's smallest embedding.

    Raises:
        InvalidArgument: it is none of these.
    """
    match = _INPUT.fullmatch(text)
    dtype = getattr(torch, match["dtype"] or "float32", None) if match else None
    if match is None or not isinstance(dtype, torch.dtype):
        raise _wrong("input", f"{text!r}: give a shape such as 8x3x32x32, or 8x128:int64<1000 for numbers below 1000")
    shape = [int(size) for size in match["shape"].split("x")]
    if dtype.is_floating_point:
        return torch.randn(shape, dtype=dtype)
    return torch.randint(0, int(match["below"] or _fewest_entries(model)), shape).to(dtype)


def _import(name: str) -> Any:
    module_name, _, factory = name.partition(":")
    if not module_name or not factory:
        raise _wrong("factory", f"{name!r}: give module:factory, such as torchvision.models:resnet18")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise _wrong("factory", f"{name!r}: {error}") from error
    except RuntimeError as error:
        if (missing := _MISSING_OPERATOR.search(str(error))) is None:
            raise
        description = (
            f"{name!r}: {error}: the installed {missing['library']} was built for another torch than"
            f" {torch.__version__}; install the build of {missing['library']} that goes with it, from where torch is"
        )
        raise _wrong("factory", description) from error
    if not callable(getattr(module, factory, None)):
        raise _wrong("factory", f"{name!r}: module {module_name} has no function or class {factory!r}")
    return getattr(module, factory)


def _takes_width(factory: Callable[..., Any]) -> bool:
    """It is a function that must be given a width and nothing else."""
    if not inspect.isfunction(factory):
        return False
    required = [each for each in inspect.signature(factory).parameters.values() if each.default is each.empty]
    return [each.name for each in required] == ["width"]


def _call(name: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except TypeError as error:
        raise _wrong("factory", f"{name!r} is called without arguments: {error}") from error


def _of_task(task: TrainingTask) -> ModelSource:
    hyperparameters = dict(task.defaults)
    batch = next(iter(task.train_batches(hyperparameters, 0, 0)))
    inputs = batch if isinstance(batch, tuple) else (batch,)
    model = task.model(hyperparameters)
    for count in range(len(inputs), 0, -1):
        if _accepts(model, inputs[:count]):
            taken = inputs[:count]
            described = ", ".join(_describe(each) for each in taken)
            return ModelSource(lambda: task.model(hyperparameters), taken, described, task=task)
    raise _wrong(
        "factory", f"the model of {type(task).__name__} takes no part of its batch: give a factory and --input"
    )


def _found_inputs(model: nn.Module) -> tuple[Any, ...]:
    for candidate in _candidates(model):
        if _accepts(model, (candidate,)):
            return (candidate,)
    raise _wrong("input", "is not given, and nothing that the model's first layer takes fits: give its shape")


def _candidates(model: nn.Module) -> Iterator[Tensor]:
    first = next(
        (module for module in model.modules() if next(module.parameters(recurse=False), None) is not None), None
    )
    match first:
        case nn.Embedding():
            yield torch.randint(0, _fewest_entries(model), (8, 16))
        case nn.Linear():
            yield torch.randn(8, first.in_features)
            yield torch.randn(8, 16, first.in_features)
        case nn.RNNBase():
            yield torch.randn(16, 8, first.input_size)
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            axes = len(first.kernel_size)
            for size in (32, 64, 224):
                yield torch.randn(8, first.in_channels, *(size,) * axes)
        case _:
            yield torch.randint(0, _fewest_entries(model), (8, 16))
            yield torch.randn(8, 3, 224, 224)


def _fewest_entries(model: nn.Module | None) -> int:
    tables = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)] if model else []
    return min(tables, default=2)


def _accepts(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    try:
        with torch.no_grad():
            model(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, KeyError):
        return False
    return True


def _require_accepted(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    try:
        with torch.no_grad():
            model(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        described = ", ".join(_describe(each) for each in inputs)
        raise _wrong("input", f"the model does not take {described}: {error}") from error


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{'x'.join(map(str, value.shape))}:{str(value.dtype).removeprefix('torch.')}"


def _wrong(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation(field, description)])
