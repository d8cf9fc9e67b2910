"""The picture of a surrogate's checks: slopes by layer, and the ladder's curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydro.kit.errors import FailedPrecondition

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hydro.client.surrogates import LadderRung, LayerSlope, Surrogate

_COLORS = {"PASS": "tab:green", "WARN": "tab:orange", "FAIL": "tab:red"}
_TOLERANCE = 0.15


def save_picture(surrogate: Surrogate, path: str | Path) -> None:
    """See `Surrogate.save_picture`."""
    if not surrogate.slopes:
        raise FailedPrecondition(f"{surrogate.name} has no checks to draw: the target itself is tuned")
    # The canvas of a file alone: a window is none of a library's business.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(3.5, 1.5 + 0.22 * len(surrogate.slopes))
    figure = Figure(figsize=(11.0 if surrogate.rungs else 6.5, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if surrogate.rungs else 1, squeeze=False)[0]
    draw_slopes(axes[0], surrogate.slopes)
    if surrogate.rungs:
        draw_ladder(axes[1], surrogate.rungs)
    figure.savefig(path, dpi=150)


def draw_slopes(axes: Axes, slopes: tuple[LayerSlope, ...]) -> None:
    """One line for each layer, the first on top: its slope with its interval, in the color of its verdict."""
    axes.axvspan(-_TOLERANCE, _TOLERANCE, color="0.92", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=1)
    for row, each in enumerate(slopes):
        color = _COLORS.get(each.verdict, "black")
        axes.errorbar(each.slope, row, xerr=each.half_width, fmt="o", color=color, markersize=4, capsize=2)
    axes.set_yticks(range(len(slopes)), [each.layer for each in slopes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("exponent of the width, with 95 % interval")
    axes.set_title("change of each layer's output")


def draw_ladder(axes: Axes, rungs: tuple[LadderRung, ...]) -> None:
    """A curve for each width, its best learning rate marked."""
    for rung in rungs:
        rates = sorted(rung.losses)
        (line,) = axes.plot(rates, [rung.losses[each] for each in rates], "o-", markersize=3, label=f"{rung.width:.4g}")
        axes.axvline(rung.best_lr_log2, color=line.get_color(), linestyle="--", linewidth=0.9)
    axes.set_xlabel("log2 of the learning rate")
    axes.set_ylabel("validation loss")
    axes.legend(title="width")
    axes.set_title("ladder: best rates dashed")
