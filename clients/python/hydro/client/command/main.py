"""The `hydro` command: its parts, and those that other distributions add."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import typer

from hydro.client.command import demo, device, doctor, metrics_test, project, study, trial, up
from hydro.client.command.output import fail
from hydro.kit.errors import HydroError
from hydro.kit.logging import configure_logging

GROUP = "hydro.commands"


def main() -> None:
    """Runs the command; errors end it with one message and status 1."""
    configure_logging("hydro", "WARNING")
    try:
        build(sys.argv[1:])()
    except HydroError as error:
        fail(str(error))


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command with all of its parts that `arguments` may need."""
    app = typer.Typer(
        name="hydro",
        help="Tunes the hyperparameters of large PyTorch models on small, fused surrogates.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    app.command("up")(up.up)
    app.command("doctor")(doctor.doctor)
    app.command("demo")(demo.demo)
    app.command("metrics-test")(metrics_test.metrics_test)
    app.command("project")(project.project)
    app.add_typer(study.app, name="study")
    app.add_typer(trial.app, name="trial")
    app.add_typer(device.app, name="device")
    for entry in entry_points(group=GROUP):
        if is_wanted(entry.name, arguments):
            _add(app, entry)
    return app


def is_wanted(name: str, arguments: Sequence[str]) -> bool:
    """Whether the command of another distribution has to be imported, which may take seconds."""
    first = next((each for each in arguments if not each.startswith("-")), None)
    return first is None or first == name


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    """An entry point names a typer.Typer, or a function that becomes a command."""
    found = entry.load()
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=entry.name)
    else:
        app.command(entry.name)(found)
