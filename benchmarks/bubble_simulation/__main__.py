"""python -m benchmarks.bubble_simulation --json FILE [--quick]

Recovered GPU time and slowdown by schedule, stages, microbatches and cluster; the same figures at every run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.bubble_simulation.model import Calibration, Cluster, Outcome, Simulation
from benchmarks.bubble_simulation.schedules import SCHEDULES, Schedule
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from hydro.squeezer.pipeline import bubble_share

CALIBRATION: Final = Path(__file__).with_name("calibration.json")
STAGES: Final = (4, 8, 16)
MICROBATCHES_PER_STAGE: Final = (1, 2, 4)
GLOBAL_MICROBATCHES: Final = 512
SCALE_STAGES: Final = 16
SCALE_GPUS_PER_STAGE: Final = 8
SCALE_REPLICAS: Final = (8, 16, 32, 64)

PUBLISHED: Final = (
    {
        "system": "PipeFill",
        "source": "Arfeen et al., MLSys 2025, arXiv 2410.07192, abstract",
        "recovered": "up to 63 % more GPU utilization at 8,192 GPUs, 5 to 15 % at low scale",
        "slowdown": "below 2 %",
    },
    {
        "system": "FreeRide",
        "source": "arXiv 2409.06941, abstract",
        "recovered": "7.8 % of the training's cost on average, 4 stages",
        "slowdown": "about 1 %",
    },
)
"""What the papers say of themselves, on their own hardware and models: beside ours, not compared with it."""


def main() -> None:
    """Runs it, and writes the report."""
    options = read_options(str(__doc__))
    machine = describe()
    calibration = Calibration(**json.loads(CALIBRATION.read_text())["values"])
    grid = [("1f1b", 4, 4, Cluster())] if options.quick else list(_grid())
    rows = [_row(*cell, calibration) for cell in grid]
    summary = dict.fromkeys(("max_slowdown_percent", "min_recovered_share", "max_recovered_share"))
    if not options.quick:
        recovered = [row["recovered_share"] for row in rows]
        summary = {
            "max_slowdown_percent": max(row["slowdown_percent"] for row in rows),
            "min_recovered_share": min(recovered),
            "max_recovered_share": max(recovered),
        }
    published = [{"what": "published", **each} for each in PUBLISHED]
    write_report(
        options.json,
        [{"what": "calibration", **asdict(calibration)}, *rows, *published],
        summary,
        machine=machine,
    )


def _grid() -> Iterator[tuple[str, int, int, Cluster]]:
    """The schedules alone, then one model on more and more GPUs at the same global batch."""
    for name in SCHEDULES:
        for stages in STAGES:
            for factor in MICROBATCHES_PER_STAGE:
                yield name, stages, stages * factor, Cluster()
    for name in SCHEDULES:
        for replicas in SCALE_REPLICAS:
            microbatches = GLOBAL_MICROBATCHES // replicas
            if name == "interleaved-2" and microbatches % SCALE_STAGES:
                continue
            yield name, SCALE_STAGES, microbatches, Cluster(replicas, SCALE_GPUS_PER_STAGE)


def _row(name: str, stages: int, microbatches: int, cluster: Cluster, calibration: Calibration) -> dict[str, Any]:
    schedule: Schedule = SCHEDULES[name](stages, microbatches)
    outcome: Outcome = Simulation(schedule, cluster, calibration).run()
    gpus = stages * cluster.replicas * cluster.gpus_per_stage
    return {
        "what": "scale" if cluster.replicas * cluster.gpus_per_stage > 1 else "schedule",
        "schedule": name,
        "stages": stages,
        "microbatches": microbatches,
        "gpus": gpus,
        "step_seconds": outcome.step_seconds,
        "bubble_share": outcome.bubble_share,
        "bubble_share_in_theory": _in_theory(schedule, calibration),
        "bubble_used_share": outcome.recovered_share * (1 + outcome.slowdown) / outcome.bubble_share,
        "recovered_share": outcome.recovered_share,
        "recovered_gpus": outcome.recovered_share * gpus,
        "slowdown_percent": 100 * outcome.slowdown,
    }


def _in_theory(schedule: Schedule, calibration: Calibration) -> float:
    """Gives the share with tasks that never vary: (p - 1) / (v m + p - 1); a third of the ramp for ZB-H1."""
    if schedule.name != "zero-bubble":
        return bubble_share(schedule.stages, schedule.microbatches * schedule.chunks)
    half = calibration.backward_per_forward / 2
    # (p - 1) (F + I - W), with halves of the same length.
    ramp = schedule.stages - 1
    return ramp / (schedule.microbatches * (1 + 2 * half) + ramp)


if __name__ == "__main__":
    main()
