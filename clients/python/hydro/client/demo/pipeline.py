"""The replayed pipeline run that the demo's slot lives in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hydro.client.suite.child import log_tail, tether
from hydro.client.suite.local import LocalSuite
from hydro.kit.errors import Unavailable

STAGES = 4
MICROBATCHES = 4
STAGE = 1
_POLL_SECONDS = 0.2
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One step of the run.

    Units: `begin_ns` on the monotonic clock that all processes of a machine share. `squeezed` means that trials
    worked in the step's bubbles.
    """

    begin_ns: int
    seconds: float
    squeezed: bool


class ReplayedPipeline:
    """A child process that runs one stage of a recorded 4-stage 1F1B schedule: real timing, real torch work."""

    def __init__(self, suite: LocalSuite, core: int, folder: Path) -> None:
        self._suite = suite
        self._core = core
        self._steps_path = folder / "pipeline-steps.jsonl"
        self._log_path = folder / "pipeline.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tether(signal.SIGKILL),  # noqa: PLW1509 - no thread of this process holds a lock it needs
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the run. A second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def steps(self, begin_ns: int = 0, end_ns: int | None = None) -> list[PipelineStep]:
        """The steps so far that lie wholly between two times."""
        if not self._steps_path.exists():
            return []
        lines = self._steps_path.read_text().splitlines()
        found = [_step(line) for line in lines if line.endswith("}")]
        return [each for each in found if each.begin_ns >= begin_ns and (end_ns is None or _end_ns(each) <= end_ns)]

    def wait_for_steps(self, count: int, begin_ns: int, timeout_seconds: float = 120.0) -> None:
        """Waits until it has done so many steps since `begin_ns`.

        Raises:
            Unavailable: it died or takes too long; the message has the end of its log.
        """
        give_up_at = time.monotonic() + timeout_seconds
        while len(self.steps(begin_ns)) < count:
            died = self._process is None or self._process.poll() is not None
            if died or time.monotonic() > give_up_at:
                raise Unavailable(f"the replayed pipeline run does not go on:\n{log_tail(self._log_path)}")
            time.sleep(_POLL_SECONDS)

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "hydro.squeezer.hooks.replay"),
            *("--stages", str(STAGES), "--microbatches", str(MICROBATCHES), "--stage", str(STAGE)),
            *("--core", str(self._core), "--until-stopped"),
            *("--squeezer-address", self._suite.squeezer_address),
            *("--gate-directory", str(self._suite.gate_directory)),
            *("--output", str(self._steps_path)),
        ]


def mean_seconds(steps: Sequence[PipelineStep]) -> float:
    """Mean duration of steps; not a number when there are none."""
    return sum(each.seconds for each in steps) / len(steps) if steps else float("nan")


def _step(line: str) -> PipelineStep:
    fields = json.loads(line)
    return PipelineStep(fields["begin_ns"], fields["seconds"], fields["squeezed"])


def _end_ns(step: PipelineStep) -> int:
    return step.begin_ns + int(step.seconds * 1e9)
