"""What a recording says: bubble shares against theory, the largest bubbles, what trials would fit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hydro.squeezer.bubble import ENOUGH_OBSERVATIONS, low_quantile
from hydro.squeezer.controller import ControllerSettings
from hydro.squeezer.gpu.gpu import GpuMemory, trial_memory_bytes
from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.pipeline import bubble_share
from hydro.squeezer.profiling.recording import RecordedStage, Recording, Span

SEGMENT_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Lengths of trial segments that are tried in the bubbles."""
_LETTERS = {Activity.FORWARD: "F", Activity.BACKWARD: "B", Activity.WEIGHT: "W"}
_LOW, _HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True)
class Bubble:
    """A bubble that comes back in each step.

    Units: seconds; low and high are the 5th and 95th percentile over the steps.
    """

    stage: int
    schedule_index: int
    place: str
    """What the stage does next, "before F2" is before its third forward; or "in a collective", "at the step's end"."""
    steps: int
    median_seconds: float
    low_seconds: float
    high_seconds: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What segments of one length would make of a stage's bubbles.

    A segment is the part of a trial that runs without a pause: a forward, a backward, an optimizer's step.
    """

    segment_seconds: float
    segments_per_step: int
    time_share: float
    """Of all time, that trials would compute on this stage."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage. Shares are fractions."""

    stage: int
    bubble_share: float
    """Of the pipeline's window, that the stage does not compute: what theory speaks of."""
    waiting_share: float
    """Of all time, that the stage waits for a peer or in a collective: what trials can use."""
    forward_seconds: float
    backward_seconds: float
    """Median of one microbatch, input and weight gradients together."""
    memory_free_bytes: int
    """The least that was free."""
    trial_memory_bytes: int
    """Of it, what trials may use: less what the run will take again, less headroom."""
    longest_segment_seconds: float
    """The longest segment that still fits a bubble; 0 when none does."""
    fits: tuple[Fit, ...]
    events_dropped: int
    hook_share: float
    """Host time that the hook took, of a step's."""


@dataclass(frozen=True, slots=True)
class BubbleReport:
    """A pipeline run, seen through its bubbles."""

    schedule: str
    stages: int
    microbatches: int
    chunks: int
    replicas: int
    steps: int
    step_seconds: float
    """From one step's begin to the next's, the median."""
    window_seconds: float
    theory_bubble_share: float
    """(p - 1) / (v m + p - 1) with v chunks of the model on each stage; a zero-bubble schedule may be below it."""
    bubble_share: float
    waiting_share: float
    by_stage: tuple[StageReport, ...]
    bubbles: tuple[Bubble, ...]
    """The longest first."""

    @property
    def idle_stages(self) -> float:
        """How many GPUs' worth of time the stages wait."""
        return sum(each.waiting_share for each in self.by_stage)


def make_report(recording: Recording) -> BubbleReport:
    """Makes the report of a recording."""
    first, steps = recording.stages[0], recording.steps
    windows = {step: recording.window(step) for step in steps}
    window_ns = sum(end - begin for begin, end in windows.values())
    bubbles = [bubble for stage in recording.stages for bubble in _bubbles(stage, steps)]
    reports = tuple(_stage_report(each, steps, window_ns, bubbles) for each in recording.stages)
    return BubbleReport(
        schedule=first.schedule,
        stages=first.stages,
        microbatches=first.microbatches,
        chunks=first.chunks,
        replicas=recording.replicas,
        steps=len(steps),
        step_seconds=_period_ns(first, steps) / 1e9,
        window_seconds=median(end - begin for begin, end in windows.values()) / 1e9,
        theory_bubble_share=bubble_share(first.stages, first.microbatches * first.chunks),
        bubble_share=_mean([each.bubble_share for each in reports]),
        waiting_share=_mean([each.waiting_share for each in reports]),
        by_stage=reports,
        bubbles=tuple(sorted(bubbles, key=lambda each: -each.median_seconds)),
    )


def _stage_report(stage: RecordedStage, steps: Sequence[int], window_ns: int, bubbles: Sequence[Bubble]) -> StageReport:
    spans = [each for each in stage.spans if each.step in set(steps)]
    busy_ns = sum(each.nanoseconds for each in spans if each.is_computing)
    period_ns = _period_ns(stage, steps)
    grants = _grants([each for each in bubbles if each.stage == stage.stage])
    backward = _typical_seconds(spans, Activity.BACKWARD) + _typical_seconds(spans, Activity.WEIGHT)
    return StageReport(
        stage=stage.stage,
        bubble_share=1 - busy_ns / window_ns,
        waiting_share=sum(each.nanoseconds for each in spans if each.is_bubble) / len(steps) / period_ns,
        forward_seconds=_typical_seconds(spans, Activity.FORWARD),
        backward_seconds=backward,
        memory_free_bytes=stage.smallest_free_bytes,
        trial_memory_bytes=trial_memory_bytes(
            GpuMemory(stage.memory.total_bytes, stage.smallest_free_bytes), stage.memory.growth_bytes
        ),
        longest_segment_seconds=max(grants, default=0.0),
        fits=tuple(_fit(grants, each, period_ns / 1e9) for each in SEGMENT_SECONDS),
        events_dropped=stage.dropped,
        hook_share=stage.hook_cost_ns / (len(stage.steps) * period_ns),
    )


def _period_ns(stage: RecordedStage, steps: Sequence[int]) -> int:
    """The time from one step's begin to the next's; of a single step, its length."""
    begins = [stage.steps[each][0] for each in steps]
    periods = [later - earlier for earlier, later in zip(begins, begins[1:], strict=False)]
    return int(median(periods)) if periods else stage.steps[steps[0]][1] - begins[0]


def _bubbles(stage: RecordedStage, steps: Sequence[int]) -> list[Bubble]:
    durations: dict[int, list[int]] = defaultdict(list)
    places: dict[int, str] = {}
    for step in steps:
        spans = stage.spans_of(step)
        for index, name in _places(spans).items():
            places.setdefault(index, name)
        for span in spans:
            if span.is_bubble:
                durations[span.schedule_index].append(span.nanoseconds)
    return [
        Bubble(
            stage.stage,
            index,
            places[index],
            len(found),
            median(found) / 1e9,
            low_quantile(found, _LOW) / 1e9,
            low_quantile(found, _HIGH) / 1e9,
        )
        for index, found in durations.items()
    ]


def _places(spans: Sequence[Span]) -> dict[int, str]:
    """Where each bubble of a step is, by its schedule index."""
    counts: Counter[Activity] = Counter()
    waiting: list[Span] = []
    names: dict[int, str] = {}
    for span in spans:
        if span.is_bubble:
            waiting.append(span)
        elif span.is_computing:
            names |= {
                each.schedule_index: f"before {_LETTERS[span.activity]}{counts[span.activity]}" for each in waiting
            }
            counts[span.activity] += 1
            waiting.clear()
    return names | {
        each.schedule_index: "in a collective" if each.activity is Activity.COLLECTIVE else "at the step's end"
        for each in waiting
    }


def _grants(bubbles: Sequence[Bubble]) -> list[float]:
    """How long the squeezer would open the gate in each bubble of a step: its forecast, less the guard."""
    settings = ControllerSettings()
    guard_seconds, smallest_seconds = settings.guard.initial_ns / 1e9, settings.smallest_grant_ns / 1e9
    granted = [each.low_seconds - guard_seconds for each in bubbles if each.steps >= ENOUGH_OBSERVATIONS]
    return [each for each in granted if each >= smallest_seconds]


def _fit(grants: Sequence[float], segment_seconds: float, period_seconds: float) -> Fit:
    count = sum(int(each / segment_seconds) for each in grants)
    return Fit(segment_seconds, count, count * segment_seconds / period_seconds)


def _typical_seconds(spans: Sequence[Span], activity: Activity) -> float:
    found = [each.nanoseconds for each in spans if each.activity is activity]
    return median(found) / 1e9 if found else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
