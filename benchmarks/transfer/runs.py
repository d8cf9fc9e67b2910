"""Trainings, kept by what they are: a run that was interrupted trains only what is missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum

import torch

from benchmarks.kept import Kept
from benchmarks.transfer.subjects import STEPS_PER_OCTAVE, Subject
from hydro.tuner.building.rate_sweep import RateSweep

Losses = dict[int, float]
"""Validation loss by the learning rate's exponent; infinite where the training diverged."""


class Arm(Enum):
    """How a narrow model is made."""

    OURS = "ours"
    """The target, shrunk, with our parametrization."""
    STANDARD = "standard"
    """The same architecture built narrower, trained as it is."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one subject; at width 1 both arms are the target."""

    subject: Subject
    arm: Arm
    width: float

    @property
    def name(self) -> str:
        """For files and lines."""
        kind = "target" if self.width == 1 else f"{self.arm.value}-{round(self.width * self.subject.target_width)}"
        return f"{self.subject.name}-{kind}"


def train(model: Model, seed: int, exponents: tuple[int, ...]) -> Losses:
    """Trains one model once for each learning rate, as lanes of one bundle: alike in initial weights and batches."""
    torch.set_num_threads(1)
    subject, is_standard = model.subject, model.arm is Arm.STANDARD
    built = round(subject.target_width * model.width) if is_standard else subject.target_width
    sweep = RateSweep(subject.task, subject.values(built), "lr", subject.steps)
    rates = {exponent: exponent / STEPS_PER_OCTAVE for exponent in exponents}
    losses = sweep.losses(1.0 if is_standard else model.width, seed, list(rates.values()))
    return {exponent: losses[rate] for exponent, rate in rates.items()}


class Runs:
    """All trainings so far, kept on disk; missing ones run in a pool's processes."""

    def __init__(self, kept: Kept, pool: Executor) -> None:
        self._kept = kept
        self._pool = pool

    def losses(self, model: Model, seeds: Iterable[int], exponents: Iterable[int]) -> dict[int, Losses]:
        """By seed, the losses of these rates and of all that were trained before."""
        wanted = set(exponents)
        known = {seed: self._known(model, seed) for seed in seeds}
        running = {
            seed: self._pool.submit(train, model, seed, tuple(sorted(wanted - set(losses))))
            for seed, losses in known.items()
            if wanted - set(losses)
        }
        for seed, future in running.items():
            known[seed] |= future.result()
            self._keep(model, seed, known[seed])
        return known

    def _known(self, model: Model, seed: int) -> Losses:
        losses = self._kept.get(_part(model, seed), _settings(model)) or {}
        return {int(exponent): math.inf if loss is None else loss for exponent, loss in losses.items()}

    def _keep(self, model: Model, seed: int, losses: Losses) -> None:
        plain = {str(exponent): loss if math.isfinite(loss) else None for exponent, loss in sorted(losses.items())}
        self._kept.put(_part(model, seed), _settings(model), plain)


def _part(model: Model, seed: int) -> str:
    return f"{model.name}-seed{seed}"


def _settings(model: Model) -> Mapping[str, object]:
    # What another subject's settings are does not matter, nor how many seeds there are.
    return {"values": model.subject.values(model.subject.target_width), "width": model.width}
