"""A bubble report as a picture: stages over time, shares against theory, the largest bubbles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.profiling.recording import Recording, Span
from hydro.squeezer.profiling.report import BubbleReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FORWARD, _BACKWARD, _WEIGHT, _OTHER = "#4c78a8", "#1f3d63", "#9ecae9", "#bab0ac"
_BUBBLE, _SHORT_BUBBLE, _THEORY = "#f2cf5b", "#f9ebbd", "#d62728"
_COLORS = {
    Activity.FORWARD: _FORWARD,
    Activity.BACKWARD: _BACKWARD,
    Activity.WEIGHT: _WEIGHT,
    Activity.OPTIMIZER: _OTHER,
    Activity.SEND: _OTHER,
    Activity.WAIT: _BUBBLE,
    Activity.COLLECTIVE: _BUBBLE,
}
_LABELS = {
    "forward": _FORWARD,
    "backward": _BACKWARD,
    "weights' backward": _WEIGHT,
    "bubble": _BUBBLE,
    "optimizer, sends": _OTHER,
}
_LETTERS = {Activity.FORWARD: "F", Activity.BACKWARD: "B", Activity.WEIGHT: "W"}
_LARGEST = 10
_SHOWN_MILLISECONDS = 1.0
"""Bubbles as long as this carry their length, where there is room for it."""


def require_matplotlib() -> None:
    """Tells early that there will be no picture.

    Raises:
        FailedPrecondition: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FailedPrecondition(
            'the picture needs matplotlib: pip install "hydro-squeezer[picture]", or give --no-picture'
        ) from error


def save_picture(recording: Recording, report: BubbleReport, path: Path) -> None:
    """Draws the step of median length, and what the report says of all of them."""
    # The canvas of a file alone: a window is none of a library's business.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 1.6 + 0.5 * report.stages
    figure = Figure(figsize=(13, height + 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(height, 3.2))
    _draw_timeline(figure.add_subplot(grid[0, :]), recording, _typical_step(recording))
    _draw_shares(figure.add_subplot(grid[1, 0]), report)
    _draw_largest(figure.add_subplot(grid[1, 1]), report)
    figure.suptitle(
        f"{report.schedule}: {report.stages} stages, {report.microbatches} microbatches, "
        f"{1e3 * report.step_seconds:.0f} ms a step; trials can use {100 * report.waiting_share:.0f}% of the time"
    )
    figure.savefig(path, dpi=130)


def _typical_step(recording: Recording) -> int:
    """The step whose window has the median length."""

    def length_ns(step: int) -> int:
        begin, end = recording.window(step)
        return end - begin

    ordered = sorted(recording.steps, key=length_ns)
    return ordered[(len(ordered) - 1) // 2]


def _draw_timeline(axes: Axes, recording: Recording, step: int) -> None:
    begin_ns = min(each.steps[step][0] for each in recording.stages)
    end_ns = max(each.steps[step][1] for each in recording.stages)
    for stage in recording.stages:
        # Stages do not begin a step together: what they did of the steps before and after fills the frame.
        for each in (step - 1, step, step + 1):
            _draw_step(axes, stage.stage, stage.spans_of(each), begin_ns, end_ns)
    axes.set_yticks(range(len(recording.stages)), [f"stage {each.stage}" for each in recording.stages])
    axes.invert_yaxis()
    axes.set_xlim(0, (end_ns - begin_ns) / 1e6)
    axes.set_xlabel(f"milliseconds of step {step}, the one of median length")
    has_weights = any(each.activity is Activity.WEIGHT for stage in recording.stages for each in stage.spans)
    _legend(axes, [name for name in _LABELS if has_weights or _LABELS[name] is not _WEIGHT])


def _draw_step(axes: Axes, row: int, spans: Sequence[Span], begin_ns: int, end_ns: int) -> None:
    counts: Counter[Activity] = Counter()
    names = {}
    for span in spans:
        names[span] = f"{_LETTERS.get(span.activity, '')}{counts[span.activity]}"
        counts[span.activity] += 1
    # Bubbles lie inside other activities, never the other way round: they are drawn last.
    for span in sorted(spans, key=lambda each: each.is_bubble):
        left_ns, right_ns = max(span.begin_ns, begin_ns), min(span.end_ns, end_ns)
        if left_ns < right_ns:
            left, width = (left_ns - begin_ns) / 1e6, (right_ns - left_ns) / 1e6
            axes.broken_barh(
                [(left, width)], (row - 0.4, 0.8), facecolors=_COLORS[span.activity], edgecolor="white", linewidth=0.4
            )
            _label(axes, left + width / 2, row, span, names[span], (right_ns - left_ns) / (end_ns - begin_ns))


def _label(axes: Axes, middle: float, row: int, span: Span, name: str, share: float) -> None:
    """A bubble carries its milliseconds, a computation its microbatch, where there is room."""
    milliseconds = span.nanoseconds / 1e6
    if span.is_bubble and share > 0.03 and milliseconds >= _SHOWN_MILLISECONDS:
        axes.text(middle, row, f"{milliseconds:.0f}", ha="center", va="center", fontsize=8)
    elif span.is_computing and share > 0.018:
        axes.text(middle, row, name, ha="center", va="center", fontsize=8, color="white")


def _legend(axes: Axes, names: list[str]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=_LABELS[name], label=name) for name in names]
    axes.legend(handles=patches, ncols=len(patches), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def _draw_shares(axes: Axes, report: BubbleReport) -> None:
    stages = [each.stage for each in report.by_stage]
    axes.bar(
        [each - 0.2 for each in stages], [100 * each.bubble_share for each in report.by_stage], 0.4,
        color=_BUBBLE, label="bubble, of the pipeline's window",
    )  # fmt: skip
    axes.bar(
        [each + 0.2 for each in stages], [100 * each.waiting_share for each in report.by_stage], 0.4,
        color=_SHORT_BUBBLE, edgecolor=_BUBBLE, label="waiting, of all time: for trials",
    )  # fmt: skip
    axes.axhline(
        100 * report.theory_bubble_share, color=_THEORY, linestyle="--", linewidth=1.2,
        label=f"(p-1)/({'v' * (report.chunks > 1)}m+p-1) = {100 * report.theory_bubble_share:.1f}%",
    )  # fmt: skip
    axes.set_xticks(stages, [f"stage {each}" for each in stages])
    axes.set_ylabel("%")
    axes.set_ylim(
        0, 1.45 * max(100 * report.theory_bubble_share, *(100 * each.bubble_share for each in report.by_stage))
    )
    axes.legend(fontsize=8, loc="upper center", ncols=2, frameon=False)
    axes.set_title("bubble share")


def _draw_largest(axes: Axes, report: BubbleReport) -> None:
    largest = report.bubbles[:_LARGEST]
    for row, each in enumerate(largest):
        low, middle, high = (1e3 * value for value in (each.low_seconds, each.median_seconds, each.high_seconds))
        axes.barh(row, middle, color=_BUBBLE)
        axes.errorbar(
            middle,
            row,
            xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
            color="0.25",
            capsize=3,
            linewidth=1.0,
        )
    axes.set_yticks(
        range(len(largest)),
        [f"stage {each.stage}, index {each.schedule_index}, {each.place}" for each in largest],
        fontsize=8,
    )
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds: median, 5th to 95th percentile of the steps")
    axes.set_title("largest bubbles, by place in the schedule")
