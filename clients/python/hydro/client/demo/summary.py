"""The demo's last screen."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hydro.client.demo.figures import Figures

_STATE_COLOURS = {"SUCCEEDED": "green", "PRUNED": "magenta", "FAILED": "red", "CANCELLED": "red", "PAUSED": "yellow"}


def print_summary(figures: Figures, console: Console) -> None:
    """Prints what the run found and what it took."""
    console.print(
        Panel(_body(figures), title="[bold]what the demo measured[/]", border_style="bright_blue", padding=(1, 2))
    )


def _body(figures: Figures) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column()
    for name, text in _rows(figures):
        table.add_row(name, text)
    return table


def _rows(figures: Figures) -> list[tuple[str, Text]]:
    return [
        ("trials", _trials(figures)),
        ("bundles", Text(f"{figures.bundles}, at most {figures.max_fusion_count} trials fused into one program")),
        ("wall time", Text(f"{figures.wall_seconds:.0f} s for the study")),
        ("time per trial", _time_per_trial(figures)),
        ("", Text()),
        ("best", Text("  ".join(f"{name} {_short(value)}" for name, value in figures.best_hyperparameters.items()))),
        ("target's accuracy", _accuracy(figures)),
        ("", Text()),
        ("pipeline step", _pipeline(figures)),
        ("in its bubbles", _slot(figures)),
    ]


def _trials(figures: Figures) -> Text:
    parts = [(f"{count} {state.lower()}  ", _STATE_COLOURS.get(state, "")) for state, count in figures.trials.items()]
    return Text.assemble(f"{sum(figures.trials.values())}  ", *parts)


def _time_per_trial(figures: Figures) -> Text:
    ratio = figures.unfused_target_seconds_per_trial / figures.seconds_per_trial
    return Text.assemble(
        (f"{figures.seconds_per_trial:.2f} s", "bold green"),
        f" of a device; the same steps of the unfused target {figures.unfused_target_seconds_per_trial:.2f} s",
        (f"  {ratio:.1f}x", "bold green"),
    )


def _accuracy(figures: Figures) -> Text:
    return Text.assemble(
        (f"{figures.target_metric_transferred:.2%}", "bold green"),
        f" with them, {figures.target_metric_default:.2%} with the defaults (means of three seeds)",
    )


def _pipeline(figures: Figures) -> Text:
    alone, squeezed = figures.pipeline_step_seconds_alone, figures.pipeline_step_seconds_squeezed
    return Text.assemble(
        f"{alone * 1e3:.1f} ms alone, {squeezed * 1e3:.1f} ms while the slot works",
        (f"  {squeezed / alone - 1:+.1%}", "bold"),
    )


def _slot(figures: Figures) -> Text:
    share = figures.slot_trial_steps / max(1, figures.trial_steps)
    return Text(f"{figures.slot_trial_steps:,} of {figures.trial_steps:,} trial steps, {share:.0%}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
