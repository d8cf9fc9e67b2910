"""hydro trial: one trial's measurements and log."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from hydro.client.command.options import (
    DEFAULT_ADDRESS,
    DEFAULT_PROJECT,
    Address,
    AsJson,
    Project,
    StudyId,
    connect,
)
from hydro.client.command.output import coloured, pairs, print_json, print_table, say
from hydro.client.names import TrialName
from hydro.client.trials import Trial
from hydro.kit.errors import FailedPrecondition

app = typer.Typer(help="Show one trial, or its log.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the trial in its study.", show_default=False)]


@app.command()
def show(
    study_id: StudyId,
    number: Number,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Show a trial and its measurements."""
    trial = _trial(study_id, number, address, project)
    if as_json:
        print_json(trial.snapshot)
        return
    say(f"[bold]trial {trial.number}[/]  {coloured(trial.kind)}  {coloured(trial.state)}  {trial.state_reason}")
    say(pairs(trial.hyperparameters))
    say(f"{trial.steps} steps, {trial.device_seconds:.2f} device-seconds, seed {trial.seed}")
    print_table(("step", "metrics"), [(str(each.step), pairs(each.metrics)) for each in trial.measurements])


@app.command()
def log(
    study_id: StudyId, number: Number, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """Print the end of a trial's log."""
    sys.stdout.write(_trial(study_id, number, address, project).log.rstrip("\n") + "\n")


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="STUDY/NUMBER, or the trial's full name.", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Run one trial again by itself, here, and show its measurements beside the recorded ones."""
    study_id, _, number = name.partition("/")
    full = name if name.startswith("projects/") else f"projects/{project}/studies/{study_id}/trials/{number or '-'}"
    TrialName.parse(full)
    if find_spec("hydro.worker") is None:
        raise FailedPrecondition("hydro-worker is not installed here, which runs trials: install it, or go to a worker")
    command = [sys.executable, "-m", "hydro.worker.reproduce", full, "--address", address]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


def _trial(study_id: str, number: int, address: str, project: str) -> Trial:
    return connect(address, project).get_study(study_id).get_trial(number)
