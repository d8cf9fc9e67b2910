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
    Limit,
    Project,
    StudyId,
    Tags,
    connect,
    tags_of,
)
from hydro.client.command.output import pairs, print_json, print_trials, say
from hydro.client.command.trial_view import print_trial
from hydro.client.names import TrialName
from hydro.client.snapshots import TrialState
from hydro.client.trials import Trial
from hydro.kit.errors import FailedPrecondition

app = typer.Typer(help="List trials, show one, its log, tag it.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(help="Number of the trial in its study.", show_default=False)]


@app.command("list")
def list_trials(
    study_id: StudyId,
    state: Annotated[
        list[TrialState] | None, typer.Option(help="Only in this state; may be given several times.")
    ] = None,
    tag: Tags = None,
    best: Annotated[bool, typer.Option(help="By value, the best first.")] = False,
    limit: Limit = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """List a study's search trials, those in one of the states that have all of the tags."""
    study = connect(address, project).get_study(study_id)
    found = study.list_trials(states=state or (), tags=tags_of(tag), best_first=best, limit=limit)
    snapshots = [each.snapshot for each in found]
    if as_json:
        print_json(snapshots)
        return
    print_trials(snapshots)


@app.command()
def tag(
    study_id: StudyId,
    number: Number,
    tag: Tags = None,
    remove: Annotated[list[str] | None, typer.Option(help="Key of a tag to remove.")] = None,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Add tags to a trial, and remove others."""
    trial = _trial(study_id, number, address, project)
    trial.tag(tags_of(tag), remove=remove or ())
    say(f"[bold]trial {trial.number}[/]  {pairs(dict(sorted(trial.tags.items())))}")


@app.command()
def show(
    study_id: StudyId,
    number: Number,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Show a trial: what it was trained with, its value, its measurements."""
    trial = _trial(study_id, number, address, project)
    if as_json:
        print_json(trial.snapshot)
        return
    print_trial(trial)


@app.command()
def log(
    study_id: StudyId, number: Number, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """Print the end of a trial's log, with the reasons of its runs before and of its failure."""
    trial = _trial(study_id, number, address, project)
    log = trial.log.rstrip("\n")
    reason = trial.state_reason if trial.state is TrialState.FAILED and trial.state_reason not in log else ""
    sys.stdout.write("\n".join(part for part in (log, reason) if part) + "\n")


@app.command()
def replay(
    study_id: StudyId, number: Number, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """Search a trial's suggestion once more, from what it had known, and compare."""
    trial = _trial(study_id, number, address, project)
    again = trial.replay()
    first = dict(trial.changes[0].hyperparameters)
    say(f"[bold]trial {trial.number}[/]  {pairs(first)}")
    say(f"[bold]again[/]    {pairs(again)}")
    if again != first:
        raise FailedPrecondition("the search suggests something else now: another release, or other library versions")
    say("the same")


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
