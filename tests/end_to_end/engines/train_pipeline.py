"""A real pipeline training over gloo, on one of the engines: `torchrun --nproc-per-node 4 train_pipeline.py ...`.

Forward and backward of a stage take a set time (they sleep) beside a small real computation, so that stages do not
fight for this machine's cores and the schedule alone makes the bubbles. Each rank writes its steps to `--output`, with
its own stamps of computing: what the hook says is held against them.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import count
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch
import torch.distributed
from torch import nn

import hydro.squeezer

WIDTH, SAMPLES = 32, 8
busy: list[tuple[int, int]] = []


class Delay(torch.autograd.Function):
    """Takes its time, and notes it."""

    @staticmethod
    def forward(context, samples, forward_seconds, backward_seconds):
        context.seconds = backward_seconds
        spend(forward_seconds)
        return samples.clone()

    @staticmethod
    def backward(context, gradient):
        spend(context.seconds)
        return gradient.clone(), None, None


def spend(seconds):
    begin_ns = time.monotonic_ns()
    time.sleep(seconds)
    busy.append((begin_ns, time.monotonic_ns()))


class Block(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.seconds = options.forward_seconds, options.backward_seconds

    def forward(self, samples):
        return Delay.apply(torch.tanh(self.linear(samples)), *self.seconds)


def batches(options):
    generator = torch.Generator().manual_seed(0)
    while True:
        samples = torch.randn(options.microbatches * SAMPLES, WIDTH, generator=generator)
        yield samples, samples * 0.5


def deepspeed_steps(options):
    """Gives a function that makes one step and gives its loss, and the engine."""
    import deepspeed
    from deepspeed.pipe import LayerSpec, PipelineModule

    deepspeed.init_distributed(dist_backend="gloo", verbose=False)
    module = PipelineModule(
        [LayerSpec(Block, options) for _ in range(torch.distributed.get_world_size())],
        num_stages=torch.distributed.get_world_size(),
        loss_fn=nn.MSELoss(),
        partition_method="uniform",
    )
    config = {
        "train_micro_batch_size_per_gpu": SAMPLES,
        "gradient_accumulation_steps": options.microbatches,
        "gradient_clipping": 1.0,
        "optimizer": {"type": "Adam", "params": {"lr": 1e-3, "torch_adam": True}},
        "steps_per_print": 10**9,
    }
    engine, *_ = deepspeed.initialize(model=module, model_parameters=list(module.parameters()), config=config)
    data = ((x, y) for pair in batches(options) for x, y in zip(*(each.split(SAMPLES) for each in pair), strict=True))
    return lambda: engine.train_batch(data).item(), engine


def torch_steps(options):
    from torch.distributed.pipelining import PipelineStage, schedules

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    schedule_class = schedules.get_schedule_class(options.schedule)
    is_single = issubclass(schedule_class, schedules.PipelineScheduleSingle)
    indices = [rank] if is_single else [rank, rank + ranks]
    stages = [PipelineStage(Block(options), each, len(indices) * ranks, torch.device("cpu")) for each in indices]
    schedule = schedule_class(stages[0] if is_single else stages, options.microbatches, loss_fn=nn.MSELoss())
    optimizer = torch.optim.Adam([each for stage in stages for each in stage.submod.parameters()], lr=1e-3)
    data = batches(options)

    def step():
        samples, targets = next(data)
        losses = []
        last = {"target": targets, "losses": losses} if rank == ranks - 1 else {}
        schedule.step(*((samples,) if rank == 0 else ()), **last)
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(losses).mean().item() if losses else None

    return step, schedule


def train(name, options):
    torch.manual_seed(0)
    step, engine = (deepspeed_steps if name == "deepspeed" else torch_steps)(options)
    attachment = hydro.squeezer.attach(engine, pipeline_run=name) if options.attach else None
    stop = options.output / f"stop-{name}"
    with (options.output / f"{name}-{torch.distributed.get_rank()}.jsonl").open("w", encoding="utf-8") as output:
        for number in count() if options.steps is None else range(options.steps):
            busy.clear()
            begin_ns = time.monotonic_ns()
            loss = step()
            output.write(json.dumps({"step": number, "loss": loss, "begin_ns": begin_ns, "busy": busy}) + "\n")
            output.flush()
            if options.steps is None and is_told_to_stop(stop):
                break
    if attachment is not None:
        attachment.detach()


def is_told_to_stop(stop):
    """All ranks must end at the same step."""
    told = torch.tensor(float(stop.exists()))
    torch.distributed.all_reduce(told)
    return bool(told.item())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", nargs="+", default=["torch"], choices=["deepspeed", "torch"])
    parser.add_argument("--schedule", default="1F1B")
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--forward-seconds", type=float, default=0.02)
    parser.add_argument("--backward-seconds", type=float, default=0.04)
    parser.add_argument("--steps", type=int, help="default: until a file stop-ENGINE is in the output folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--attach", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.engines:
        train(name, options)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
