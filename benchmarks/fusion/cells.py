"""One cell of the table: a model, a number of models and an optimizer, all variants in interleaved rounds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.fusion.planned import Choice
from benchmarks.fusion.variants import VARIANTS, Fused, Several, Variant
from benchmarks.fusion.workloads import Batch, LossModule, Workload
from benchmarks.rounds import Interval, interleave, interval, ratio
from hydro.tuner.training.execution import Execution

LEAST_SECONDS = 5e-3
"""Steps shorter than this are timed several at a time."""

MOST_SECONDS = 20.0
"""No further round is planned that would have a spell take longer than this, after the third."""

LEAST_ROUNDS = 3

NEARLY_BEST = 0.95
"""A choice with this share of the best variant's speed is as good: a cell is timed until it is clear if it has it."""

LEAST_SPELLS, MOST_SPELLS = 2, 6
"""The rounds are timed in so many spells, each with variants built anew: where a tensor happens to lie in memory is
worth up to a fifth of a step, and stays for as long as it lives."""

Row = dict[str, Any]

Seconds = Mapping[str, list[float]]
"""Of each variant, by round."""


def models_of(workload: Workload, lanes: int, device: torch.device) -> list[nn.Module]:
    """Gives models with initial values of their own."""
    torch.manual_seed(0)
    return [LossModule(workload.model()).to(device) for _ in range(lanes)]


def batch_of(workload: Workload, device: torch.device) -> Batch:
    inputs, target = workload.batch(torch.Generator().manual_seed(0))
    return inputs.to(device), target.to(device)


def measure_cell(
    workload: Workload, lanes: int, optimizer: str, choice: Choice | None, rounds: int, device: torch.device
) -> list[Row]:
    """Gives a row of the step's time, and one of the optimizer's alone."""
    planned = _variant_of(choice, lanes)
    cell: Row = {"model": workload.name, "lanes": lanes, "optimizer": optimizer, "threads": torch.get_num_threads()}
    steps: Seconds = {}
    updates: Seconds = {}
    spell_rounds = math.ceil(rounds / LEAST_SPELLS)
    for spell in range(MOST_SPELLS):
        if spell >= LEAST_SPELLS and (choice is None or is_settled(_planned_vs_best(steps, planned))):
            break
        built = _build(workload, lanes, optimizer, choice, device)
        works = {name: variant.step for name, variant in built.items()}
        steps = _joined(steps, seconds_of(works, spell_rounds, device))
        if spell < LEAST_SPELLS:
            peers = {name: built[name].update for name in ("separate", "fused")}
            updates = _joined(updates, seconds_of(peers, spell_rounds, device))
    return [
        {**cell, "what": "step", "choice": choice and str(choice), **_step_figures(steps, planned, lanes)},
        {
            **cell,
            "what": "optimizer",
            "milliseconds": _milliseconds(updates),
            "fused_over_separate": asdict(ratio(updates["fused"], updates["separate"])),
        },
    ]


def _build(
    workload: Workload, lanes: int, optimizer: str, choice: Choice | None, device: torch.device
) -> dict[str, Variant]:
    models, batch = models_of(workload, lanes, device), batch_of(workload, device)
    built: dict[str, Variant] = {name: build(models, batch, optimizer) for name, build in VARIANTS.items()}
    planned = _variant_of(choice, lanes)
    if planned not in built and choice is not None:
        built[planned] = micro_bundles(models, batch, optimizer, choice.at_once)
    return built


def _joined(seconds: Seconds, more: Seconds) -> Seconds:
    return {name: [*seconds.get(name, ()), *values] for name, values in more.items()}


def micro_bundles(models: Sequence[nn.Module], batch: Batch, optimizer: str, at_once: int) -> Variant:
    """Fuses so many models at a time; the parts step one after the other."""
    parts = [models[start : start + at_once] for start in range(0, len(models), at_once)]
    return Several([Fused(part, batch, optimizer) for part in parts])


def _variant_of(choice: Choice | None, lanes: int) -> str:
    """The variant that the choice amounts to: what runs the same is not timed twice."""
    if choice is None or choice.execution is Execution.SEPARATE:
        return "separate"
    return "fused" if choice.at_once >= lanes else "micro-bundles"


def is_settled(planned_vs_best: Interval) -> bool:
    """Whether it is clear on which side of `NEARLY_BEST` the choice is."""
    return planned_vs_best.low >= NEARLY_BEST or planned_vs_best.high < NEARLY_BEST


def _planned_vs_best(steps: Seconds, planned: str) -> Interval:
    return ratio(steps[_best(steps)], steps[planned])


def _best(steps: Seconds) -> str:
    return min(steps, key=lambda name: median(steps[name]))


def _step_figures(steps: Seconds, planned: str, lanes: int) -> Row:
    return {
        "milliseconds": _milliseconds(steps),
        "model_steps_per_second": {name: lanes / median(seconds) for name, seconds in steps.items()},
        "fused_speedup_vs_separate": asdict(ratio(steps["separate"], steps["fused"])),
        "fused_speedup_vs_vmap": asdict(ratio(steps["vmap"], steps["fused"])),
        "planned": planned,
        "best": _best(steps),
        "planned_vs_best": asdict(_planned_vs_best(steps, planned)),
    }


def _milliseconds(seconds: Mapping[str, Sequence[float]]) -> Row:
    return {name: asdict(interval([1e3 * one for one in values])) for name, values in seconds.items()}


def seconds_of(variants: Mapping[str, Any], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Gives each variant's seconds, warmed up, by round."""
    for run in variants.values():
        run()
    warm = interleave(variants, 1, clock=lambda: _now(device))
    repeats = {name: max(1, min(200, round(LEAST_SECONDS / seconds))) for name, (seconds,) in warm.items()}
    round_seconds = sum(repeats[name] * seconds for name, (seconds,) in warm.items())
    rounds = min(rounds, max(LEAST_ROUNDS, round(MOST_SECONDS / round_seconds)))
    return interleave(variants, rounds, repeats=repeats, clock=lambda: _now(device))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
