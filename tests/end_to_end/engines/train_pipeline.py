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
from functools import partial
from itertools import count
from pathlib import Path

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch
import torch.distributed
from torch import nn

import hydro.squeezer

WIDTH, SAMPLES = 32, 8


class BusyTime:
    """When this stage computed, by the script's own stamps."""

    def __init__(self):
        self.spans = []
        self._begun_ns = 0

    def begin(self):
        self._begun_ns = time.monotonic_ns()

    def end(self):
        self.spans.append((self._begun_ns, time.monotonic_ns()))


busy = BusyTime()


class Enter(torch.autograd.Function):
    """Where a forward begins, and its backward ends."""

    @staticmethod
    def forward(context, samples):
        busy.begin()
        return samples.clone()

    @staticmethod
    def backward(context, gradient):
        busy.end()
        return gradient


class Leave(torch.autograd.Function):
    """Where a forward ends, and its backward begins; each has taken its time."""

    @staticmethod
    def forward(context, samples, forward_seconds, backward_seconds):
        context.seconds = backward_seconds
        time.sleep(forward_seconds)
        busy.end()
        return samples.clone()

    @staticmethod
    def backward(context, gradient):
        busy.begin()
        time.sleep(context.seconds)
        return gradient, None, None


class Block(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.seconds = options.forward_seconds, options.backward_seconds

    def forward(self, samples):
        # The first stage's samples too, so that its backward comes through Enter.
        samples = samples if samples.requires_grad else samples.detach().requires_grad_()
        return Leave.apply(torch.tanh(self.linear(Enter.apply(samples))), *self.seconds)


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


def train(name, options, log, is_last=lambda: False):
    """Makes steps until there are enough or one is the last, and writes each rank's."""
    torch.manual_seed(0)
    step, engine = (deepspeed_steps if name == "deepspeed" else torch_steps)(options)
    attachment = hydro.squeezer.attach(engine, pipeline_run=name) if options.attach else None
    with (options.output / f"{log}-{torch.distributed.get_rank()}.jsonl").open("w", encoding="utf-8") as output:
        for number in count() if options.steps is None else range(options.steps):
            busy.spans.clear()
            begin_ns = time.monotonic_ns()
            loss = step()
            output.write(json.dumps({"step": number, "loss": loss, "begin_ns": begin_ns, "busy": busy.spans}) + "\n")
            if is_last():
                break
    if attachment is not None:
        attachment.detach()


def train_alone(name, options):
    """What the run computes without a hook. That does not depend on how long it takes."""
    quick = {"steps": options.alone_steps, "attach": False, "forward_seconds": 0.0, "backward_seconds": 0.0}
    train(name, argparse.Namespace(**(vars(options) | quick)), f"alone-{name}")


def train_squeezed(name, options):
    """Until a file stop-ENGINE is in the output folder."""
    folder = options.output / name
    folder.mkdir(exist_ok=True)
    recorded = {"DIRECTORY": str(folder), "STEPS": "1000000", "SKIP_STEPS": "0"}
    os.environ.update({f"HYDRO_BUBBLES_{key}": value for key, value in recorded.items()})
    train(name, options, name, partial(is_told_to_stop, options.output / f"stop-{name}"))


def is_told_to_stop(stop):
    """All ranks must end at the same step."""
    told = torch.tensor(float(stop.exists()))
    torch.distributed.all_reduce(told)
    return bool(told.item())


def wait_for_suite(path):
    """Where the squeezers are, once they are there."""
    while not path.exists():
        time.sleep(0.1)
    os.environ.update(json.loads(path.read_text(encoding="utf-8")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", nargs="+", default=["torch"], choices=["deepspeed", "torch"])
    parser.add_argument("--schedule", default="1F1B")
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--forward-seconds", type=float, default=0.02)
    parser.add_argument("--backward-seconds", type=float, default=0.04)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--squeezed", type=Path, help="until told to stop, with this file's squeezers")
    parser.add_argument("--alone-steps", type=int, default=0, help="before that, so many without any")
    options = parser.parse_args()
    options.attach = options.squeezed is not None
    torch.set_num_threads(1)
    if options.squeezed is None:
        for name in options.engines:
            train(name, options, name)
    else:
        options.steps = None
        for name in options.engines:
            train_alone(name, options)
        wait_for_suite(options.squeezed)
        for name in options.engines:
            train_squeezed(name, options)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
