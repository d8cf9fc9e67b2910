"""python -m benchmarks.squeezer --json FILE [--quick]

Replays one stage of a recorded 1F1B pipeline run whose peers wait for it, alone and with trials in its bubbles.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from benchmarks.squeezer.arms import Arms, Block, Place
from benchmarks.squeezer.gpu import gpu_rows
from benchmarks.squeezer.summary import FIGURES, Latencies, Rounds, arm_row, blocks_of, latency_row, summarize

COMPARED = ("none", "predictive", "predictive", "none")
OTHERS = ("colocation", "reactive", "exclusive")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    forward_seconds: float
    rounds: int
    steps: int
    """Of a block, after one that does not count."""
    exclusive_seconds: float
    bubbles: int
    """For the gate's latencies."""


QUICK = Size(forward_seconds=0.005, rounds=3, steps=3, exclusive_seconds=0.5, bubbles=40)
FULL = Size(forward_seconds=0.02, rounds=60, steps=10, exclusive_seconds=3.0, bubbles=2000)


def main() -> None:
    """Runs it, and writes the report."""
    options = read_options(str(__doc__))
    machine, size = describe(), QUICK if options.quick else FULL
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the stage and its trials need one core, the squeezer and the peers another: give this process two")
    core = cores[-1]
    # What is started from here inherits the other cores; the stage and the trials move to theirs.
    os.sched_setaffinity(0, set(cores) - {core})
    sys.setswitchinterval(0.0002)
    with Arms(Place(core=core), size.forward_seconds) as arms:
        rounds, latencies = measure(arms, size)
        durations = arms.durations
    shown = [arm for arm in ("none", "colocation", "reactive", "predictive") if blocks_of(rounds, arm)]
    rows = [
        {"what": "stage", **durations, "rounds": size.rounds, "steps_per_block": size.steps},
        *(arm_row(rounds, arm) for arm in shown),
        latency_row(latencies),
    ]
    if torch.cuda.is_available():
        os.sched_setaffinity(0, cores)
        rows += gpu_rows(size.forward_seconds, partial(measure, size=size))
    summary = dict.fromkeys(FIGURES) if options.quick else summarize(rounds, latencies)
    write_report(options.json, rows, summary, machine=machine)


def measure(arms: Arms, size: Size) -> tuple[Rounds, Latencies]:
    """Runs everything on arms that stand."""
    arms.wait_until_trials_train()
    latencies = gate_latencies(arms, size.bubbles)
    return [one_round(arms, size, index) for index in range(size.rounds)], latencies


def one_round(arms: Arms, size: Size, index: int) -> dict[str, list[Block]]:
    """The run alone and the predictive gate in the order ABBA, then one of the other arms in turn."""
    blocks: dict[str, list[Block]] = {}
    for arm in (*COMPARED, OTHERS[index % len(OTHERS)]):
        if arm == "exclusive":
            blocks[arm] = [arms.run_exclusively(size.exclusive_seconds)]
            continue
        # The first step finds the caches as the arm before has left them.
        arms.run(arm, 1)
        blocks.setdefault(arm, []).append(arms.run(arm, size.steps))
    return blocks


def gate_latencies(arms: Arms, bubbles: int) -> list[tuple[float, float]]:
    """Bubbles of random length, as long as those of the recorded run, with a trial alone on its core."""
    lengths = random.Random(0)
    found = (arms.make_bubble(lengths.uniform(0.006, 0.018)) for _ in range(bubbles))
    return [each for each in found if each is not None]


if __name__ == "__main__":
    main()
