"""hydro study: create, list, show, follow, and end studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydro.client.command import export
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
from hydro.client.command.output import coloured, pairs, print_json, print_line, print_table, print_trials, say
from hydro.client.command.study_view import counts, print_study, work
from hydro.client.snapshots import StudySnapshot, StudyState
from hydro.client.study_file import create_study, read_values
from hydro.kit.errors import FieldViolation, InvalidArgument

app = typer.Typer(help="Create, list, show, follow and end studies.", no_args_is_help=True)
app.command("export")(export.export)


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="YAML file of the study; see docs/study-file.md.", show_default=False)],
    watch: Annotated[bool, typer.Option(help="Follow it to its end.")] = False,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Create a study from a YAML file."""
    study = create_study(connect(address, project), file)
    say(f"created [bold]{study.name.study}[/]")
    if watch:
        _report_end(study.wait(progress=True))


@app.command("list")
def list_studies(
    state: Annotated[
        list[StudyState] | None, typer.Option(help="Only in this state; may be given several times.")
    ] = None,
    tag: Tags = None,
    limit: Limit = None,
    as_json: AsJson = False,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """List the project's studies, the newest first: those in one of the states that have all of the tags."""
    found = connect(address, project).list_snapshots(states=state or (), tags=tags_of(tag), limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [(each.name.study, coloured(each.state), counts(each), work(each)) for each in found]
    print_table(("study", "state", "trials", "task"), rows)


@app.command()
def show(
    study_id: StudyId, as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """Show a study: its state, what its user chose, what it has used, its best trials."""
    study = connect(address, project).get_study(study_id)
    snapshot = study.snapshot()
    if as_json:
        print_json(snapshot)
        return
    print_study(snapshot, study.best_trials)


@app.command()
def tag(
    study_id: StudyId,
    tag: Tags = None,
    remove: Annotated[list[str] | None, typer.Option(help="Key of a tag to remove.")] = None,
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Add tags to a study, and remove others."""
    study = connect(address, project).get_study(study_id)
    study.tag(tags_of(tag), remove=remove or ())
    say(f"[bold]{study_id}[/]  {pairs(dict(sorted(study.snapshot().tags.items())))}")


@app.command()
def trials(
    study_id: StudyId, as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """List a study's search trials; `hydro trial list` can choose among them."""
    found = [each.snapshot for each in connect(address, project).get_study(study_id).trials]
    if as_json:
        print_json(found)
        return
    print_trials(found)


@app.command()
def importance(
    study_id: StudyId, as_json: AsJson = False, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT
) -> None:
    """Show how much each hyperparameter matters for the objective."""
    export.require("optuna", "optuna")
    found = connect(address, project).get_study(study_id).importance()
    if as_json:
        print_json(found)
        return
    print_table(("hyperparameter", "share"), [(name, f"{share:.1%}") for name, share in found.items()])


@app.command()
def enqueue(
    study_id: StudyId,
    values: Annotated[list[str], typer.Argument(help="name=value, as many as are known.", show_default=False)],
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Try these hyperparameters next; what is left out is drawn at random."""
    point = read_values(values)
    connect(address, project).get_study(study_id).enqueue(point)
    say(f"enqueued [bold]{study_id}[/]  {pairs(point)}")


@app.command()
def watch(
    study_id: StudyId,
    as_json: Annotated[bool, typer.Option("--json", help="Print every change as a line of JSON.")] = False,
    resume_token: Annotated[
        str, typer.Option(help="Of the last line of --json that was seen: print what came since (at least one line).")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Follow a study to its end."""
    if resume_token and not as_json:
        raise InvalidArgument.of([FieldViolation("--resume-token", "belongs to --json: give both")])
    study = connect(address, project).get_study(study_id)
    if not as_json:
        _report_end(study.wait(progress=True))
        return
    for change in study.changes(resume_token):
        print_line(change)
        if change.study.state in (StudyState.CANCELLED, StudyState.FAILED):
            raise typer.Exit(1)


@app.command()
def surrogate(study_id: StudyId, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT) -> None:
    """Print the report on a study's surrogate."""
    say(connect(address, project).get_study(study_id).surrogate.report)


@app.command()
def cancel(study_id: StudyId, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT) -> None:
    """End a study; its open trials become CANCELLED."""
    connect(address, project).get_study(study_id).cancel()
    say(f"cancelled [bold]{study_id}[/]")


@app.command()
def pause(study_id: StudyId, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT) -> None:
    """Start no further trial; running ones keep their checkpoint."""
    connect(address, project).get_study(study_id).pause()
    say(f"paused [bold]{study_id}[/]")


@app.command()
def resume(study_id: StudyId, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT) -> None:
    """Go on with a paused study."""
    connect(address, project).get_study(study_id).resume()
    say(f"resumed [bold]{study_id}[/]")


@app.command()
def delete(study_id: StudyId, address: Address = DEFAULT_ADDRESS, project: Project = DEFAULT_PROJECT) -> None:
    """Delete a study that has ended, with its trials."""
    connect(address, project).get_study(study_id).delete()
    say(f"deleted [bold]{study_id}[/]")


def _report_end(snapshot: StudySnapshot) -> None:
    say(f"[bold]{snapshot.name.study}[/] {coloured(snapshot.state)}  {counts(snapshot)}")
    if snapshot.state is StudyState.CANCELLED:
        raise typer.Exit(1)
