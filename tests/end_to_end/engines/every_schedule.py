"""Each kind of schedule of torch, with and without the hook: `torchrun --nproc-per-node 2 every_schedule.py FOLDER`."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed
from torch import nn
from torch.distributed.pipelining import PipelineStage, schedules

from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.torch_pipelining import TorchPipelining

SCHEDULES = ("1F1B", "GPipe", "Interleaved1F1B", "LoopedBFS", "InterleavedZeroBubble")
MICROBATCHES, SAMPLES, WIDTH, STEPS = 4, 2, 8, 3


class Listener:
    activities = frozenset(Activity)

    def __init__(self):
        self.steps = []
        self.changes = 0

    def take(self, kind, stamp_ns, schedule_index, step, activity):
        if kind.name == "STEP_BEGIN":
            self.steps.append([])
        elif kind.name == "BEGIN":
            self.steps[-1].append((activity.name, schedule_index))
        elif kind.name == "SCHEDULE_CHANGED":
            self.changes += 1

    def take_memory(self, memory):
        pass


def train(name, listener):
    torch.manual_seed(0)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    schedule_class = schedules.get_schedule_class(name)
    is_single = issubclass(schedule_class, schedules.PipelineScheduleSingle)
    indices = [rank] if is_single else [rank, rank + ranks]
    count, device = len(indices) * ranks, torch.device("cpu")
    stages = [PipelineStage(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()), each, count, device) for each in indices]
    schedule = schedule_class(stages[0] if is_single else stages, MICROBATCHES, loss_fn=nn.MSELoss())
    optimizer = torch.optim.SGD([each for stage in stages for each in stage.submod.parameters()], lr=0.1)
    if listener is not None:
        adapter = TorchPipelining(schedule)
        assert (adapter.place.stage, adapter.place.stages, adapter.place.chunks) == (rank, ranks, len(indices))
        adapter.shadow(StageHook([listener]))
    values = []
    for step in range(STEPS):
        samples = torch.randn(MICROBATCHES * SAMPLES, WIDTH, generator=torch.Generator().manual_seed(step))
        losses = []
        last = {"target": samples, "losses": losses} if rank == ranks - 1 else {}
        schedule.step(*((samples,) if rank == 0 else ()), **last)
        optimizer.step()
        optimizer.zero_grad()
        values += [each.item() for each in losses]
    return values


def main():
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    told = {}
    for name in SCHEDULES:
        listener = Listener()
        alone, hooked = train(name, None), train(name, listener)
        told[name] = {"alone": alone, "hooked": hooked, "steps": listener.steps, "changes": listener.changes}
    path = Path(sys.argv[1]) / f"rank-{torch.distributed.get_rank()}.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
