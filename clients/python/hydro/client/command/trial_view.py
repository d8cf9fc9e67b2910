"""What `hydro trial show` prints of a trial: what it was trained with, what it came to, what it measured."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape

from hydro.client.command.output import coloured, pairs, print_table, say
from hydro.client.trials import Trial

_FEASIBLE = {None: "", True: "  keeps the constraints", False: "  [red]beyond a constraint[/]"}


def print_trial(trial: Trial) -> None:
    """Prints the trial; of a member of a population also what it was trained with from step to step."""
    say(f"[bold]trial {trial.number}[/]  {coloured(trial.kind)}  {coloured(trial.state)}  {escape(trial.state_reason)}")
    for line in (pairs(trial.hyperparameters), *_results(trial), *_runs(trial)):
        say(line)
    if len(trial.changes) > 1:
        rows = [
            (str(each.step), "-" if each.parent is None else str(each.parent), pairs(each.hyperparameters))
            for each in trial.changes
        ]
        print_table(("from step", "weights of", "hyperparameters"), rows)
    print_table(("step", "metrics"), [(str(each.step), pairs(each.metrics)) for each in trial.measurements])


def _results(trial: Trial) -> Iterator[str]:
    """The objectives, of one that has not succeeded the first as it was last measured; what else its end measured."""
    names = [each.metric for each in trial.objectives]
    values = trial.values or (() if trial.value is None else (trial.value,))
    if values:
        yield f"value {pairs(dict(zip(names, values, strict=False)))}{_FEASIBLE[trial.feasible]}"
    others = {name: value for name, value in trial.metrics.items() if name not in names}
    if others and trial.state.has_ended:
        yield f"end {pairs(others)}"


def _runs(trial: Trial) -> Iterator[str]:
    yield f"{trial.steps} steps, {trial.device_seconds:.2f} device-seconds, seed {trial.seed}"
    if trial.tags:
        yield f"tags {pairs(dict(sorted(trial.tags.items())))}"
    for each in trial.retries:
        reason = escape(each.reason.partition("\n")[0])
        yield f"[yellow]run again[/] from step {each.steps}, of {each.lanes} in its bundle: {reason}"
