"""Real pipeline engines, real squeezers and real fused trials in their bubbles: one run for all that is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydro.client import Client, DeviceKind, asha, choice, loguniform, minimize, surrogate
from hydro.client.suite.child import log_tail
from hydro.client.suite.local import LocalSuite
from hydro.kit.parent import tethered_command
from hydro.squeezer.profiling.recording import Recording

ENGINES = ("deepspeed", "torch")
STAGES = 4
MICROBATCHES = 4
ALONE_STEPS = 300
TRIALS, MIN_STEPS = 16, 10
HERE = Path(__file__).parent
PATIENCE_SECONDS = 600.0

Segment = tuple[int, int, int]
"""Number of the stage's wait, start, deadline: the worker's own stamps."""


@dataclass(frozen=True, slots=True)
class StudyInBubbles:
    """What the coordinator says of a study."""

    trials: dict[str, int]
    slot_trial_steps: int
    max_fusion_count: int
    slots: list[str]
    """There when it ended."""


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What each side says of a run: the script, the hook, the worker, the coordinator."""

    alone: list[dict[str, Any]]
    """Steps of the last rank without hook and squeezer."""
    steps: list[list[dict[str, Any]]]
    """By stage: loss and the script's own stamps of computing."""
    recording: Recording
    segments: dict[int, list[Segment]]
    """By stage."""
    study: StudyInBubbles


class RealEngines:
    """A suite with a squeezer for each stage, and a pipeline run that is first alone and then has trials."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._squeezers = folder / "squeezers.json"

    def measure(self) -> dict[str, EngineRun]:
        """Beside the start of the suite the run is alone: what it computes does not depend on how fast it is."""
        pipeline = self._start_pipeline()
        suite = None
        try:
            suite = self._start_suite()
            studies = self._search(suite, pipeline)
            assert pipeline.wait(PATIENCE_SECONDS) == 0, "the pipeline run failed: see its log"
            segments = read_segments(suite.gate_directory)
        finally:
            # torchrun ends its ranks when it is told to end.
            pipeline.terminate()
            pipeline.wait(PATIENCE_SECONDS)
            self._show_logs(suite)
            if suite is not None:
                suite.stop()
        return {name: self._run(name, segments.get(name, {}), study) for name, study in studies.items()}

    def _start_pipeline(self) -> subprocess.Popen[bytes]:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(STAGES)),
            *(str(HERE / "train_pipeline.py"), "--engines", *ENGINES, "--microbatches", str(MICROBATCHES)),
            *("--squeezed", str(self._squeezers), "--alone-steps", str(ALONE_STEPS), "--output", str(self._folder)),
        ]
        with (self._folder / "pipeline.log").open("wb") as log:
            return subprocess.Popen(tethered_command(command), env=pipeline_environment(), stdout=log, stderr=log)

    def _start_suite(self) -> LocalSuite:
        suite = LocalSuite.start(
            {
                "HYDRO_SQUEEZERS": str(STAGES),
                "HYDRO_SQUEEZER_GPU": "simulated",
                "HYDRO_COORDINATOR_DEVICES": "",
                "OMP_NUM_THREADS": "1",
                # A busy machine slows the run by itself: here the gate is on trial, and not the budget.
                "HYDRO_SQUEEZER_SLOWDOWN_BUDGET": "0.9",
            }
        )
        told = {
            "HYDRO_SQUEEZER_ADDRESSES": ",".join(suite.squeezer_addresses),
            "HYDRO_GATE_DIRECTORY": str(suite.gate_directory),
        }
        unfinished = self._squeezers.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(told), encoding="utf-8")
        unfinished.replace(self._squeezers)
        return suite

    def _search(self, suite: LocalSuite, pipeline: subprocess.Popen[bytes]) -> dict[str, StudyInBubbles]:
        """A study in the bubbles of each engine's run, which then ends."""
        studies = {}
        with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
            for name in ENGINES:
                studies[name] = search(client, name, pipeline)
                (self._folder / f"stop-{name}").touch()
        return studies

    def _run(self, name: str, segments: dict[int, list[Segment]], study: StudyInBubbles) -> EngineRun:
        return EngineRun(
            alone=read_lines(self._folder / f"alone-{name}-{STAGES - 1}.jsonl"),
            steps=[read_lines(self._folder / f"{name}-{stage}.jsonl") for stage in range(STAGES)],
            recording=Recording.load(self._folder / name),
            segments=segments,
            study=study,
        )

    def _show_logs(self, suite: LocalSuite | None) -> None:
        """Shown when the test fails."""
        found = [self._folder / "pipeline.log"]
        if suite is not None:
            found += sorted((suite.data_directory / "logs").rglob("*.log"))
        for log in found:
            print(f"--- {log.name}\n{log_tail(log, lines=30)}")


def search(client: Client, name: str, pipeline: subprocess.Popen[bytes]) -> StudyInBubbles:
    study = client.create_study(
        name,
        task="stamped_task:StampedPerceptron",
        source_path=str(HERE),
        # Batches of two sizes are two bundles, on the slots of two stages.
        search_space={"lr": loguniform(1e-3, 1), "batch_size": choice([16, 32])},
        objective=minimize("validation_loss"),
        sampler="random",
        pruner=asha(min_steps=MIN_STEPS, max_steps=2 * MIN_STEPS, eta=2),
        surrogate=surrogate(width=0.5),
        trials=TRIALS,
        parallelism=TRIALS,
        seed=1,
    )
    ended = study.wait(timeout_seconds=PATIENCE_SECONDS, until=lambda _: pipeline.poll() is not None)
    statistics = ended.statistics
    return StudyInBubbles(
        trials=dict(statistics.trials_by_state),
        slot_trial_steps=statistics.slot_trial_steps,
        max_fusion_count=statistics.max_fusion_count,
        slots=[each.name for each in client.list_devices() if each.kind is DeviceKind.SLOT and name in each.name],
    )


def pipeline_environment() -> dict[str, str]:
    folder = Path(sys.prefix) / "deepspeed-extensions"
    # Of a run that was killed while DeepSpeed compiled its op or looked for it: others would wait for it for good.
    for lock in folder.glob("*/lock"):
        lock.unlink(missing_ok=True)
    return os.environ | {"TORCH_EXTENSIONS_DIR": str(folder), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_segments(gate_directory: Path) -> dict[str, dict[int, list[Segment]]]:
    """By run and stage; a gate's file is named after both."""
    found: dict[str, dict[int, list[Segment]]] = {}
    for path in gate_directory.glob("segments-*"):
        for line in path.read_text().splitlines():
            gate, *words = line.split()
            run, _, stage = gate.split(".")[1].rpartition("-")
            wait, started_ns, deadline_ns = map(int, words)
            found.setdefault(run, {}).setdefault(int(stage), []).append((wait, started_ns, deadline_ns))
    return found
