"""`hydro shrink`: a model's surrogate, as a table of what shrinks, how far, and what its numbers are multiplied by."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

import torch
import typer

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.command.model_source import ModelSource, load_source
from hydro.tuner.shrinking.effects import OptimizerFacts, optimizer_facts
from hydro.tuner.shrinking.report import ShrinkReport
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.shrink import shrink as shrink_model
from hydro.tuner.shrinking.surrogate import build_surrogate


def shrink(
    factory: Annotated[
        str,
        typer.Argument(help="module:factory of a model or of a model at a width, or module:Class of a TrainingTask."),
    ],
    width: Annotated[str, typer.Option(help="The surrogate's width over the target's: 1/8 or 0.125.")] = "1/8",
    input: Annotated[
        list[str] | None, typer.Option(help='Shape of each input: "1x3x224x224", "4x16:int64<50257" for integers.')
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="Whose factors the table shows: a class of torch.optim. By default a task's own, else AdamW."
        ),
    ] = None,
    depth: Annotated[
        str, typer.Option(help="The surrogate's layers over the target's, of pre-LN residual stacks: 1/2.")
    ] = "1",
) -> None:
    """Shrink a model: print every tensor's shapes, class and factors, and what keeps its size and why."""
    ratios = _ratio("width", width), _ratio("depth", depth)
    given = _optimizer(optimizer) if optimizer else None
    source = load_source(factory, input or [])
    own = _facts(source, given)
    shrunk = _shrunk(source, *ratios)
    typer.echo(f"{factory} at width {width}, input {source.description}\n")
    typer.echo(str(ShrinkReport(shrunk.solution, own.type, own.options)))


def _facts(source: ModelSource, given: type[torch.optim.Optimizer] | None) -> OptimizerFacts:
    """Of the optimizer that was asked for, or of the task's own."""
    if source.task is None or given is not None:
        return OptimizerFacts(given or torch.optim.AdamW)
    return optimizer_facts(source.task.optimizer(source.make(), source.task.defaults))


def _shrunk(source: ModelSource, width: float, depth: float) -> ShrunkModel:
    """As a study would have it, where there is a task: with its own inputs, clipping and narrow models."""
    if source.task is not None:
        return build_surrogate(source.task, source.task.defaults, width, depth=depth)
    return shrink_model(source.at_width or source.make(), source.inputs, width, depth=depth)


def _ratio(name: str, text: str) -> float:
    try:
        ratio = float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError) as error:
        raise _wrong(name, f"{text!r}: give a fraction such as 1/8, or a number such as 0.125") from error
    if not 0 < ratio <= 1:
        raise _wrong(name, f"{text!r} is not in (0, 1]: give the surrogate's over the target's")
    return ratio


def _optimizer(name: str) -> type[torch.optim.Optimizer]:
    found = getattr(torch.optim, name, None)
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise _wrong("optimizer", f"{name!r}: torch.optim has no such optimizer: give one such as SGD or AdamW")
    return found


def _wrong(field: str, description: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation(field, description)])
