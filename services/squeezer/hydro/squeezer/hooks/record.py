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

_WIDTH: Final = 192
_SAMPLES: Final = 64
_WARM_UP: Final = 2


class OperationTimer:
    """Takes the times of a stage's operations, in place of the stage's own methods."""

    def __init__(self, stage: Any) -> None:
        self.seconds: dict[str, list[float]] = {"forward_seconds": [], "backward_seconds": []}
        stage.forward_one_chunk = self._timed(stage.forward_one_chunk, "forward_seconds")
        stage.backward_one_chunk = self._timed(stage.backward_one_chunk, "backward_seconds")

    def take(self) -> dict[str, list[float]]:
        """Gives the times since the last call."""
        taken, self.seconds = self.seconds, {key: [] for key in self.seconds}
        return taken

    def _timed(self, operation: Callable[..., Any], key: str) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            start = time.process_time()
            result = operation(*arguments, **keywords)
            self.seconds[key].append(round(time.process_time() - start, 6))
            return result

        return run


def record(microbatches: int, steps: int, layers: int) -> list[Any]:
    """Runs the pipeline, in the process group of this process, and gives each stage's times by step."""
    rank, stages = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = nn.Sequential(
        *(nn.Sequential(nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _WIDTH), nn.GELU()) for _ in range(layers))
    )
    stage = PipelineStage(model, rank, stages, torch.device("cpu"))
    timer = OperationTimer(stage)
    schedule = Schedule1F1B(stage, microbatches, loss_fn=nn.MSELoss())
    taken = []
    for _ in range(_WARM_UP + steps):
        samples = torch.randn(microbatches * _SAMPLES, _WIDTH)
        inputs = (samples,) if rank == 0 else ()
        schedule.step(*inputs, target=torch.zeros_like(samples) if rank == stages - 1 else None)
        taken.append(timer.take())
    gathered: list[Any] = [None] * stages
    torch.distributed.all_gather_object(gathered, taken[_WARM_UP:])
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
