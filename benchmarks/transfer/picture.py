"""python -m benchmarks.transfer.picture REPORT PICTURE: the curves of a kept report, subject by subject.

The dashed lines are the best rates of the mean curves: their distance is the drift that the report tells.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.transfer.subjects import STEPS_PER_OCTAVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ARMS = {"standard": "standard parametrization", "ours": "ours, anchored at the target"}


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """A column for each subject, the standard parametrization above ours, a curve for each width."""
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    figure = Figure(figsize=(3.6 * len(subjects), 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(subjects), squeeze=False, sharex="col", sharey="col")
    for column, subject in enumerate(subjects):
        own = [row for row in rows if row["subject"] == subject]
        for line, (arm, title) in enumerate(ARMS.items()):
            _draw_curves(grid[line][column], [row for row in own if row["arm"] in (arm, "target")])
            grid[line][column].set_title(f"{subject.replace('_', ' ')}\n{title}", fontsize=10)
        grid[1][column].set_xlabel("log2 of the learning rate")
    for line in grid:
        line[0].set_ylabel("validation loss")
    return figure


def _draw_curves(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    highest = 0.0
    for row in sorted(rows, key=lambda each: float(each["width"])):
        points = sorted((int(each) / STEPS_PER_OCTAVE, loss) for each, loss in row["losses"].items())
        color = "black" if row["arm"] == "target" else None
        rates, losses = zip(*points, strict=True)
        (curve,) = axes.plot(rates, losses, "o-", markersize=2.5, label=row["built_width"], color=color)
        axes.axvline(row["best_lr_log2"], color=curve.get_color(), linestyle="--", linewidth=0.9)
        highest = max(highest, 1.25 * row["best_loss"])
    low = min(min(row["losses"].values()) for row in rows)
    axes.set_ylim(0.97 * low, highest)
    axes.legend(fontsize=8, title="width", title_fontsize=8)


def main() -> None:
    """Reads a report and writes a picture."""
    report, picture = map(Path, sys.argv[1:])
    draw(json.loads(report.read_text())["rows"]).savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
