"""On a GPU: the stage and the trials share it, by time slices and through CUDA's MPS.

Rows of what `gpu arm` have, beside an arm's figures, how busy the GPU's multiprocessors were (NVML's performance
monitoring, from Hopper on; null elsewhere), those of what `gpu gate` how long after a bubble's end the trial has
acknowledged that nothing of it runs any more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pynvml

from benchmarks.squeezer.arms import Arms, Block, Place
from benchmarks.squeezer.summary import Latencies, Rounds, arm_row, blocks_of, latency_row

CONTROL: Final = "nvidia-cuda-mps-control"
_SECONDS: Final = 30.0

Measure = Callable[[Arms], tuple[Rounds, Latencies]]
"""Runs the rounds and the bubbles on arms that stand."""


class SmActivity:
    """Measures how busy a GPU's streaming multiprocessors are, over any time: NVML's GPM, metric SM_UTIL."""

    def __init__(self, index: int = 0) -> None:
        self._handle: Any = None
        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
                self._handle = handle
        except pynvml.NVMLError as error:
            print(f"no activity of multiprocessors: {error}")

    def over(self, work: Callable[[], Block]) -> Block:
        """Does the work, and gives its block with the activity over it, in [0, 1]."""
        if self._handle is None:
            return work()
        samples = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
        try:
            pynvml.nvmlGpmSampleGet(self._handle, samples[0])
            block = work()
            pynvml.nvmlGpmSampleGet(self._handle, samples[1])
            return replace(block, sm_activity=_activity(samples))
        finally:
            for each in samples:
                pynvml.nvmlGpmSampleFree(each)


class MeasuredArms(Arms):
    """Arms whose blocks have the activity of the multiprocessors."""

    def __init__(self, place: Place, forward_seconds: float, activity: SmActivity) -> None:
        super().__init__(place, forward_seconds)
        self._activity = activity

    def run(self, arm: str, steps: int) -> Block:
        """See `Arms.run`."""
        return self._activity.over(lambda: super(MeasuredArms, self).run(arm, steps))


def gpu_rows(forward_seconds: float, measure: Measure) -> list[dict[str, Any]]:
    """Gives the rows of the GPU, with time slices and, where its daemon is installed, with MPS."""
    rows = _rows(Place("cuda"), forward_seconds, measure, mps=False)
    if shutil.which(CONTROL) is None:
        print(f"no rows with MPS: {CONTROL} is not installed")
        return rows
    with mps_daemon() as environment:
        return rows + _rows(Place("cuda", environment=environment), forward_seconds, measure, mps=True)


@contextmanager
def mps_daemon() -> Iterator[Mapping[str, str]]:
    """Runs MPS' daemon for a while, and gives the variables by which its clients find it."""
    with tempfile.TemporaryDirectory(prefix="hydro-mps-") as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": Path(folder, "pipe"), "CUDA_MPS_LOG_DIRECTORY": Path(folder, "log")}
        for each in places.values():
            each.mkdir()
        variables = {name: str(path) for name, path in places.items()}
        environment = os.environ | variables
        subprocess.run([CONTROL, "-d"], env=environment, check=True, timeout=_SECONDS)
        try:
            yield variables
        finally:
            subprocess.run([CONTROL], input=b"quit\n", env=environment, check=False, timeout=_SECONDS)


def gpu_arm_row(rounds: Rounds, arm: str, *, mps: bool) -> dict[str, Any]:
    """Gives what an arm did, with the multiprocessors' activity: in the mean, and what trials added in the bubbles."""
    alone, own = _busy(rounds, "none"), _busy(rounds, arm)
    added = None
    if alone is not None and own is not None:
        bubble_seconds = sum(each.bubble_seconds for each in blocks_of(rounds, arm)) / _steps(rounds, arm)
        added = (own - alone) / bubble_seconds
    seconds = sum(each.total_seconds for each in blocks_of(rounds, arm)) / _steps(rounds, arm)
    return {
        **arm_row(rounds, arm),
        "what": "gpu arm",
        "mps": mps,
        "sm_activity": None if own is None else own / seconds,
        "sm_activity_added_in_bubbles": added,
    }


def gpu_gate_row(latencies: Latencies, *, mps: bool) -> dict[str, Any]:
    """Gives how fast the gate opens, and how long after a bubble's end the trial's acknowledgement comes."""
    row = latency_row(latencies)
    acknowledged = {f"ack_{each}_ms": row.pop(f"end_to_quiet_{each}_ms") for each in ("p50", "p99")}
    return {**row, **acknowledged, "what": "gpu gate", "mps": mps}


def _rows(place: Place, forward_seconds: float, measure: Measure, *, mps: bool) -> list[dict[str, Any]]:
    with MeasuredArms(place, forward_seconds, SmActivity()) as arms:
        rounds, latencies = measure(arms)
    shown = [arm for arm in ("none", "colocation", "reactive", "predictive") if blocks_of(rounds, arm)]
    return [*(gpu_arm_row(rounds, arm, mps=mps) for arm in shown), gpu_gate_row(latencies, mps=mps)]


def _busy(rounds: Rounds, arm: str) -> float | None:
    """Gives the seconds of a step in which the multiprocessors were busy."""
    blocks = blocks_of(rounds, arm)
    if not blocks or any(each.sm_activity is None for each in blocks):
        return None
    return sum((each.sm_activity or 0.0) * each.total_seconds for each in blocks) / _steps(rounds, arm)


def _steps(rounds: Rounds, arm: str) -> int:
    return sum(len(each.seconds) for each in blocks_of(rounds, arm))


def _activity(samples: tuple[Any, Any]) -> float:
    query = pynvml.c_nvmlGpmMetricsGet_t()
    query.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    query.numMetrics = 1
    query.sample1, query.sample2 = samples
    query.metrics[0].metricId = pynvml.NVML_GPM_METRIC_SM_UTIL
    return float(pynvml.nvmlGpmMetricsGet(query).metrics[0].value) / 100
