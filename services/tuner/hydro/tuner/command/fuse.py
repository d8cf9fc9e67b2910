"""`hydro fuse`: which ops of a model run how over lanes, and what that gains on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import hydro.optim
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.command.model_source import ModelSource, load_source
from hydro.tuner.fusion.fuse import GroupedModel
from hydro.tuner.fusion.fuse import fuse as fuse_models

ROUNDS = 5
"""Each round times both ways, one after the other, so that what else runs on the machine slows both alike."""


def fuse(
    factory: Annotated[str, typer.Argument(help="module:factory of a model, or module:Class of a TrainingTask.")],
    lanes: Annotated[int, typer.Option(help="How many models to fuse.")] = 16,
    input: Annotated[
        list[str] | None, typer.Option(help='Shape of each input: "8x3x32x32", "8x128:int64<50257" for integers.')
    ] = None,
    device: Annotated[str, typer.Option(help="Where to run: cpu, cuda, cuda:1.")] = "cpu",
    steps: Annotated[int, typer.Option(help="Training steps of each measurement; 0 measures nothing.")] = 5,
) -> None:
    """Fuse copies of a model: print how each op runs over lanes, and the measured gain."""
    _require(lanes >= 1, "lanes", f"{lanes}: give 1 or more")
    _require(steps >= 0, "steps", f"{steps}: give 0 or more")
    source = load_source(factory, input or [])
    typer.echo(f"{lanes} lanes of {factory}, input {source.description}\n")
    models = [source.make().to(device) for _ in range(lanes)]
    inputs = pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, source.inputs)
    grouped = fuse_models(models, inputs)
    typer.echo(f"{grouped.report}\n")
    if steps and grouped.report.reason:
        typer.echo(f"nothing is gained: {lanes} lanes run as so many separate models")
    elif steps:
        typer.echo(_gain(ModelSource(source.make, inputs, source.description), models, grouped, steps))


def _gain(source: ModelSource, models: list[nn.Module], grouped: GroupedModel, steps: int) -> str:
    separate_step, grouped_step = _separate(models, source.inputs), _grouped(grouped, source.inputs)
    ratios, fused_times = [], []
    for step in (separate_step, grouped_step):
        step()
    for _ in range(ROUNDS):
        separate_seconds, fused_seconds = _seconds(separate_step, steps), _seconds(grouped_step, steps)
        ratios.append(separate_seconds / fused_seconds)
        fused_times.append(fused_seconds)
    milliseconds = 1e3 * median(fused_times)
    return (
        f"one SGD step of all lanes, threads {torch.get_num_threads()}: {milliseconds:.1f} ms fused,"
        f" {milliseconds * median(ratios):.1f} ms as separate models"
        f" ({median(ratios):.2f}x; {min(ratios):.2f}x to {max(ratios):.2f}x in {ROUNDS} rounds of {steps} steps)"
    )


def _separate(models: list[nn.Module], inputs: tuple[Any, ...]) -> Callable[[], None]:
    # The fastest that torch has for one model: less would flatter the fused one.
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, fused=True) for model in models]

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            _loss(model(*inputs), lanes=False).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()

    return step


def _grouped(grouped: GroupedModel, inputs: tuple[Any, ...]) -> Callable[[], None]:
    optimizer = hydro.optim.SGD(grouped.named_parameters(), lr=1e-6, momentum=0.9)

    def step() -> None:
        _loss(grouped(*inputs), lanes=True).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _loss(output: Any, *, lanes: bool) -> Tensor:
    """Some loss, the same for both ways: the mean square of everything that has a gradient."""
    leaves: Iterable[Any] = pytree.tree_leaves(output)
    trained = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    if lanes:
        return torch.stack([leaf.flatten(1).square().mean(1) for leaf in trained]).sum(0)
    return torch.stack([leaf.square().mean() for leaf in trained]).sum()


def _seconds(step: Callable[[], None], steps: int) -> float:
    _synchronize()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    _synchronize()
    return (time.perf_counter() - begin) / steps


def _synchronize() -> None:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def _require(holds: bool, field: str, description: str) -> None:
    if not holds:
        raise InvalidArgument.of([FieldViolation(field, description)])
