"""On a GPU: ResNet-18 at width 1/8 on images of 32 x 32, against one unfused target, with memory per model."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.fusion.cells import batch_of, models_of, seconds_of
from benchmarks.fusion.variants import SGD, VARIANTS
from benchmarks.fusion.workloads import ResNet18, Workload, images
from benchmarks.rounds import interval

SAMPLES = 256
LANES = (1, 16, 64, 128, 220, 256)
SURROGATE = Workload("ResNet-18 at width 1/8", lambda: ResNet18(8), images(SAMPLES), rounds=9)
TARGET = Workload("ResNet-18", lambda: ResNet18(64), images(SAMPLES), rounds=9)


def accelerator_rows(*, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Gives a row for each number of models and variant; nothing without a GPU."""
    if not torch.cuda.is_available():
        return
    target = _measure(TARGET, 1, "separate", 1 if quick else TARGET.rounds)
    yield target
    for lanes in (2,) if quick else LANES:
        for variant in VARIANTS:
            row = _measure(SURROGATE, lanes, variant, 1 if quick else SURROGATE.rounds)
            yield {**row, "models_per_second_vs_target": _rate(row) / _rate(target)}


def _rate(row: dict[str, Any]) -> float:
    return float(row["lanes"] / row["milliseconds"][row["variant"]]["median"])


def _measure(workload: Workload, lanes: int, variant: str, rounds: int) -> dict[str, Any]:
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    trained = VARIANTS[variant](models_of(workload, lanes, device), batch_of(workload, device), SGD)
    seconds = seconds_of({variant: trained.step}, rounds, device)[variant]
    row = {
        "what": "gpu step", "model": workload.name, "lanes": lanes, "optimizer": SGD, "variant": variant,
        "gpu": torch.cuda.get_device_name(device),
        "milliseconds": {variant: asdict(interval([1e3 * one for one in seconds]))},
        "memory_mebibytes_per_model": torch.cuda.max_memory_reserved(device) / lanes / 2**20,
    }  # fmt: skip
    del trained
    gc.collect()
    return row
