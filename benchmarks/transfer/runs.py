"""Trainings, kept by what they are: a run that was interrupted trains only what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch

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
    """All trainings so far, in a folder; missing ones run in a pool's processes."""

    def __init__(self, folder: Path, pool: Executor, commit: str | None) -> None:
        self._folder = folder
        self._pool = pool
        self._commit = commit

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

    def _path(self, model: Model, seed: int) -> Path:
        return self._folder / f"{model.name}-seed{seed}.json"

    def _settings(self, model: Model) -> Mapping[str, object]:
        # What another subject's settings are does not matter, nor how many seeds there are.
        subject = model.subject
        described = {"values": subject.values(subject.target_width), "width": model.width, "commit": self._commit}
        plain: dict[str, object] = json.loads(json.dumps(described))
        return plain

    def _known(self, model: Model, seed: int) -> Losses:
        path = self._path(model, seed)
        kept = json.loads(path.read_text()) if path.exists() else None
        if kept is None or kept["settings"] != self._settings(model):
            return {}
        return {int(exponent): math.inf if loss is None else loss for exponent, loss in kept["losses"].items()}

    def _keep(self, model: Model, seed: int, losses: Losses) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        plain = {str(exponent): loss if math.isfinite(loss) else None for exponent, loss in sorted(losses.items())}
        self._path(model, seed).write_text(json.dumps({"settings": self._settings(model), "losses": plain}, indent=1))

    def remove(self) -> None:
        """Forgets them: they are in the report."""
        for path in self._folder.glob("*.json"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()
