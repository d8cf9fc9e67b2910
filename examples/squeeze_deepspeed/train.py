"""A pipeline-parallel training with DeepSpeed: a residual net in four stages. The one line for Hydro is `attach`."""

import argparse
import os
import time

import torch
import torch.distributed
from torch import Tensor, nn

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")

import deepspeed
from deepspeed.pipe import LayerSpec, PipelineModule

import hydro.squeezer

WIDTH, MICROBATCH, MICROBATCHES = 256, 16, 4
SIMULATED_SECONDS = 0.0 if torch.cuda.is_available() else 0.01


class GpuTime(torch.autograd.Function):
    """Without GPUs, the time that a layer would take on one: stages on CPUs would fight for the machine's cores."""

    @staticmethod
    def forward(context, samples):
        time.sleep(SIMULATED_SECONDS)
        return samples.clone()

    @staticmethod
    def backward(context, gradient):
        time.sleep(2 * SIMULATED_SECONDS)
        return gradient


class Residual(nn.Module):
    """Two linear layers and the input, added."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, samples: Tensor) -> Tensor:
        output = samples + self.layers(samples)
        return GpuTime.apply(output) if SIMULATED_SECONDS else output


def batches():
    """Samples whose target is a fixed function of them."""
    generator = torch.Generator().manual_seed(0)
    while True:
        samples = torch.randn(MICROBATCH, WIDTH, generator=generator)
        yield samples, torch.sin(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, help="default: until it is stopped")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False)
    stages = torch.distributed.get_world_size()
    module = PipelineModule(
        [LayerSpec(Residual) for _ in range(options.layers)],
        num_stages=stages,
        loss_fn=nn.MSELoss(),
        partition_method="uniform",
    )
    engine, *_ = deepspeed.initialize(
        model=module,
        model_parameters=list(module.parameters()),
        config={
            "train_micro_batch_size_per_gpu": MICROBATCH,
            "gradient_accumulation_steps": MICROBATCHES,
            "gradient_clipping": 1.0,
            "optimizer": {"type": "Adam", "params": {"lr": 1e-3, "torch_adam": True}},
            "steps_per_print": 10,
        },
    )
    hydro.squeezer.attach(engine)  # trials may run in this stage's bubbles
    data = batches()
    step = 0
    while options.steps is None or step < options.steps:
        engine.train_batch(data)
        step += 1


if __name__ == "__main__":
    main()
