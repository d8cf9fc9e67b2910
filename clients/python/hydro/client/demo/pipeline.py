"""The replayed pipeline run that the demo's slot lives in: a recorded 4-stage 1F1B schedule, real torch work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydro.client.demo.background import BackgroundProcess
from hydro.client.suite.local import LocalSuite
from hydro.kit.errors import Unavailable

STAGES = 4
MICROBATCHES = 4
STAGE = 1
FORWARD_SECONDS = 0.04
"""Of one microbatch: bubbles are as long as a few of these, and have to be longer than the segments of a bundle."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One step of the run.

    Units: `begin_ns` on the monotonic clock that all processes of a machine share. `squeezed` means that trials worked
    in the step's bubbles.
    """

    begin_ns: int
    seconds: float
    squeezed: bool


class ReplayedPipeline(BackgroundProcess):
    """The child process of one stage, and the steps it tells of."""

    def __init__(self, suite: LocalSuite, core: int, folder: Path) -> None:
        self._steps_path = folder / "pipeline-steps.jsonl"
        command = [
            *(sys.executable, "-m", "hydro.squeezer.hooks.replay"),
            *("--stages", str(STAGES), "--microbatches", str(MICROBATCHES), "--stage", str(STAGE)),
            *("--forward-seconds", str(FORWARD_SECONDS), "--core", str(core), "--until-stopped"),
            *("--squeezer-address", suite.squeezer_address),
            *("--gate-directory", str(suite.gate_directory)),
            *("--output", str(self._steps_path)),
        ]
        super().__init__(command, {"OMP_NUM_THREADS": "1"}, folder / "pipeline.log")

    def steps(self, begin_ns: int = 0) -> list[PipelineStep]:
        """The steps since a time."""
        if not self._steps_path.exists():
            return []
        # The last line may be half written.
        lines = self._steps_path.read_text().splitlines()
        found = [_step(line) for line in lines if line.endswith("}")]
        return [each for each in found if each.begin_ns >= begin_ns]

    def wait_for_steps(self, count: int, begin_ns: int = 0, timeout_seconds: float = 60.0) -> None:
        """Waits until it has done so many steps since a time, or for the timeout.

        Raises:
            Unavailable: it died, or does no step in all this time; the message has the end of its log.
        """
        give_up_at = time.monotonic() + timeout_seconds
        while len(self.steps(begin_ns)) < count and not self.has_ended and time.monotonic() < give_up_at:
            time.sleep(_POLL_SECONDS)
        if self.has_ended or not self.steps(begin_ns):
            raise Unavailable(f"the replayed pipeline run does not go on:\n{self.log()}")


def mean_seconds(steps: Sequence[PipelineStep]) -> float:
    """Mean duration of steps; not a number when there are none."""
    return sum(each.seconds for each in steps) / len(steps) if steps else float("nan")


def _step(line: str) -> PipelineStep:
    fields = json.loads(line)
    return PipelineStep(fields["begin_ns"], fields["seconds"], fields["squeezed"])
