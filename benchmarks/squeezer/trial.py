"""The trial's process: sixteen lanes of a small network, trained behind a gate, on the stage's core or its GPU.

Usage: python -m benchmarks.squeezer.trial GATE PAGE DEVICE [CORE]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import sched_setaffinity
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hydro.squeezer.gate import GateLost
from hydro.squeezer.shared_page import HEADER_WORDS, SharedPage
from hydro.squeezer.worker_gate import WorkerGate
from hydro.tuner.task import TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.lane import LaneSpec

LANES = 16
WIDTHS = {"cpu": 64, "cuda": 512}
"""Of the network, by device."""
PATIENCE_SECONDS = 1e6
"""Of a trial whose arm has to wait for its turn."""
MAGIC = 0x48594452_4F545249
STEPS, OPENING, FIRST_BEGIN, LATEST_END = range(HEADER_WORDS, HEADER_WORDS + 4)
WORD_COUNT = 16


class Network(TrainingTask):
    """Four layers on as many random samples as they are wide: what it learns does not matter, what it takes does."""

    defaults = {"lr": 0.01, "momentum": 0.9}

    def __init__(self, width: int) -> None:
        self._width = width

    def model(self, hp: Any) -> nn.Module:
        """The network."""
        layers = [layer for _ in range(3) for layer in (nn.Linear(self._width, self._width), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(self._width, 10))

    def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batch for ever."""
        generator = torch.Generator().manual_seed(seed)
        samples = torch.randn(self._width, self._width, generator=generator)
        batch = samples, torch.randint(10, (self._width,), generator=generator)
        while True:
            yield batch

    def validation_batches(self, hp: Any) -> list[tuple[Tensor, Tensor]]:
        """One batch."""
        return [next(self.train_batches(hp, 1, 0))]

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor], hp: Any) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, model: nn.Module, hp: Any) -> torch.optim.Optimizer:
        """SGD."""
        return torch.optim.SGD(model.parameters(), lr=hp["lr"], momentum=hp["momentum"])


class StampedGate:
    """A worker's gate that writes down when segments ran."""

    def __init__(self, gate: WorkerGate, page: SharedPage) -> None:
        self._gate = gate
        self._words = page.words

    @property
    def pause(self) -> Callable[[], None] | None:
        """See `WorkerGate.pause`."""
        return self._gate.pause

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """See `WorkerGate.segment`."""
        words = self._words
        with self._gate.segment(name):
            admission = self._gate.latest_admission
            if admission is not None and admission.sequence != words[OPENING]:
                words[FIRST_BEGIN] = admission.started_ns
                words[OPENING] = admission.sequence
            yield
        words[LATEST_END] = time.monotonic_ns()


def main() -> int:
    """Trains until the gate is lost."""
    gate_path, page_path, device = *sys.argv[1:3], torch.device(sys.argv[3])
    torch.set_num_threads(1)
    if cores := set(map(int, sys.argv[4:])):
        sched_setaffinity(0, cores)
    page = SharedPage.attach(Path(page_path), magic=MAGIC, word_count=WORD_COUNT)
    # All of the benchmark's own silences are meant.
    attached = WorkerGate.attach(
        gate_path,
        heartbeat_timeout_seconds=PATIENCE_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
        synchronize=torch.cuda.synchronize if device.type == "cuda" else None,
    )
    trainer = build_trainer(
        Network(WIDTHS[device.type]),
        width=1.0,
        solution=None,
        execution=Execution.FUSED,
        lanes=[LaneSpec(f"trials/{lane}", {"lr": 0.001 * (1 + lane)}, lane) for lane in range(LANES)],
        data_seed=0,
        gate=StampedGate(attached, page),
        device=device,
    )
    try:
        while True:
            trainer.train_step()
            page.words[STEPS] += 1
    except GateLost:
        return 0


if __name__ == "__main__":
    sys.exit(main())
