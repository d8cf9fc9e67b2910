"""Records a schedule: `torchrun --nproc-per-node 4 -m hydro.squeezer.hooks.record --output FILE`.

Runs a real 1F1B pipeline of torch.distributed.pipelining over gloo and takes the time of every forward and backward.
Processor time, not wall time: on a machine with fewer cores than stages the latter is the other stages' doing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.hooks.torch_pipelining import TorchPipelining
from hydro.squeezer.pipeline import StageMemory

_WIDTH: Final = 192
_SAMPLES: Final = 64
_WARM_UP: Final = 2
_KEYS: Final = {Activity.FORWARD: "forward_seconds", Activity.BACKWARD: "backward_seconds"}


class ProcessorTimes:
    """Takes the processor times of a stage's forwards and backwards: a `StageEvents`."""

    def __init__(self) -> None:
        self.steps: list[dict[str, list[float]]] = []
        self._began = 0.0

    def step_begin(self, step: int) -> None:
        """Begins a step."""
        self.steps.append({key: [] for key in _KEYS.values()})

    def step_end(self, step: int) -> None:
        """Does nothing."""

    def begin(self, activity: Activity, schedule_index: int) -> None:
        """Notes the time."""
        self._began = time.process_time()

    def end(self, activity: Activity, schedule_index: int) -> None:
        """Keeps the time of an operation."""
        if activity in _KEYS:
            self.steps[-1][_KEYS[activity]].append(round(time.process_time() - self._began, 6))

    def memory(self, measure: Callable[[], StageMemory]) -> None:
        """Does nothing."""

    def schedule_changed(self) -> None:
        """Does nothing."""


def record(microbatches: int, steps: int, layers: int) -> list[Any]:
    """Runs the pipeline, in the process group of this process, and gives each stage's times by step."""
    rank, stages = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = nn.Sequential(
        *(nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _WIDTH), nn.GELU()) for _ in range(layers))
    )
    stage = PipelineStage(model, rank, stages, torch.device("cpu"))
    schedule = Schedule1F1B(stage, microbatches, loss_fn=nn.MSELoss())
    times = ProcessorTimes()
    TorchPipelining(schedule).shadow(times)
    for _ in range(_WARM_UP + steps):
        samples = torch.randn(microbatches * _SAMPLES, _WIDTH)
        inputs = (samples,) if rank == 0 else ()
        schedule.step(*inputs, target=torch.zeros_like(samples) if rank == stages - 1 else None)
    gathered: list[Any] = [None] * stages
    torch.distributed.all_gather_object(gathered, times.steps[_WARM_UP:])
    return gathered


def main() -> None:
    """Runs the command in one of the processes that torchrun starts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--layers", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    by_stage = record(options.microbatches, options.steps, options.layers)
    if torch.distributed.get_rank() == 0:
        content = {
            "schedule": "1F1B",
            "engine": f"torch.distributed.pipelining {torch.__version__}, gloo, CPU",
            "stages": len(by_stage),
            "microbatches": options.microbatches,
            "steps": [list(step) for step in zip(*by_stage, strict=True)],
        }
        options.output.write_text(json.dumps(content) + "\n", encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
