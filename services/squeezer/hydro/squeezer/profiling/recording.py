"""The recorded steps of a pipeline's stages, on one clock."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks.events import BUBBLES, Activity
from hydro.squeezer.pipeline import StageMemory

COMPUTING = frozenset({Activity.FORWARD, Activity.BACKWARD, Activity.WEIGHT})


_COPIED = ("stage", "stages", "microbatches", "schedule", "replica", "chunks", "dropped", "host", "hook_cost_ns")


@dataclass(frozen=True, slots=True)
class Span:
    """An activity of a stage in a step.

    Units: nanoseconds, on the clock of the first stage's machine.
    """

    step: int
    activity: Activity
    schedule_index: int
    begin_ns: int
    end_ns: int

    @property
    def is_bubble(self) -> bool:
        """The stage computes nothing."""
        return self.activity in BUBBLES

    @property
    def is_computing(self) -> bool:
        """Forward or backward."""
        return self.activity in COMPUTING

    @property
    def nanoseconds(self) -> int:
        """How long."""
        return self.end_ns - self.begin_ns


@dataclass(frozen=True, slots=True)
class RecordedStage:
    """What one stage did, as its hook wrote it."""

    stage: int
    stages: int
    microbatches: int
    schedule: str
    replica: int
    chunks: int
    steps: dict[int, tuple[int, int]]
    """Begin and end by the step's number."""
    spans: tuple[Span, ...]
    memory: StageMemory
    smallest_free_bytes: int
    dropped: int
    host: str
    hook_cost_ns: int
    """Host time that the hook took in the recorded steps."""

    @classmethod
    def load(cls, path: Path, wall_minus_monotonic_ns: dict[int, int]) -> Self:
        """Reads a stage's file.

        Args:
            path: the file.
            wall_minus_monotonic_ns: by boot; machines other than the first are aligned by their wall clocks.
        """
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        own_ns = wall_minus_monotonic_ns.setdefault(content["boot"], content["wall_minus_monotonic_ns"])
        shift_ns = own_ns - next(iter(wall_minus_monotonic_ns.values()))
        memory = dict(content["memory"])
        smallest_free_bytes = memory.pop("smallest_free_bytes")
        return cls(
            **{name: content[name] for name in _COPIED},
            steps={step: (begin + shift_ns, end + shift_ns) for step, begin, end in content["steps"]},
            spans=tuple(
                Span(step, Activity(activity), index, begin + shift_ns, end + shift_ns)
                for step, activity, index, begin, end in content["spans"]
            ),
            memory=StageMemory(**memory),
            smallest_free_bytes=smallest_free_bytes,
        )

    def spans_of(self, step: int) -> tuple[Span, ...]:
        """The spans of a step, by their begin."""
        return tuple(sorted((each for each in self.spans if each.step == step), key=lambda each: each.begin_ns))


@dataclass(frozen=True, slots=True)
class Recording:
    """The stages of one pipeline, in order."""

    stages: tuple[RecordedStage, ...]
    replicas: int
    """Data-parallel copies of the pipeline that were recorded; this is the first of them."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what the stages of a run have written.

        Raises:
            FailedPrecondition: no stage was recorded, some are missing, or they have no step in common.
        """
        offsets: dict[int, int] = {}
        found = sorted(
            (RecordedStage.load(each, offsets) for each in sorted(folder.glob("stage-*.json"))),
            key=lambda each: (each.replica, each.stage),
        )
        if not found:
            raise FailedPrecondition(
                "no pipeline was seen: the command trained nothing with DeepSpeed's PipelineEngine or a schedule of"
                " torch.distributed.pipelining, or it ended before the first recorded step. Where Python starts"
                " isolated (-I, -E), put `hydro.squeezer.attach(engine)` into the script"
            )
        pipelines = [tuple(group) for _, group in groupby(found, key=lambda each: each.replica)]
        recording = cls(pipelines[0], len(pipelines))
        recording._check()
        return recording

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that every stage has recorded."""
        return tuple(sorted(set.intersection(*(set(each.steps) for each in self.stages))))

    def window(self, step: int) -> tuple[int, int]:
        """From the first stage's first computing to the last one's last: the pipeline's own time in a step."""
        computing = [span for span in self._spans(step) if span.is_computing]
        return min(each.begin_ns for each in computing), max(each.end_ns for each in computing)

    def _spans(self, step: int) -> Iterator[Span]:
        for stage in self.stages:
            yield from (each for each in stage.spans if each.step == step)

    def _check(self) -> None:
        there = [each.stage for each in self.stages]
        if missing := sorted(set(range(self.stages[0].stages)) - set(there)):
            raise FailedPrecondition(
                f"stages {_numbers(missing)} of {self.stages[0].stages} were not recorded, only {_numbers(there)}:"
                " run `hydro bubbles` on each machine with the same --folder on a shared file system"
            )
        if not self.steps:
            raise FailedPrecondition("no step was recorded on all stages: give fewer --steps or --skip-steps")


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(str(each) for each in values)
