"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from hydro.client.client import Client
from hydro.kit.errors import FieldViolation, InvalidArgument

Address = Annotated[
    str, typer.Option("--address", envvar="HYDRO_COORDINATOR_ADDRESS", help="host:port of the coordinator.")
]
Project = Annotated[str, typer.Option(envvar="HYDRO_PROJECT", help="Project of the study.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StudyId = Annotated[str, typer.Argument(help="Id of the study.", show_default=False)]

Tags = Annotated[list[str] | None, typer.Option("--tag", help="KEY=VALUE; may be given several times.")]
Limit = Annotated[int | None, typer.Option(help="Not more than so many.", min=1)]

DEFAULT_ADDRESS = "localhost:7400"
DEFAULT_PROJECT = "default"


def connect(address: str, project: str = DEFAULT_PROJECT) -> Client:
    """A client for one command."""
    return Client(address, project=project)


def tags_of(given: list[str] | None) -> dict[str, str]:
    """The tags of KEY=VALUE.

    Raises:
        InvalidArgument: one is none.
    """
    wrong = [each for each in given or () if "=" not in each]
    if wrong:
        raise InvalidArgument.of([FieldViolation("--tag", f"{each!r}: give KEY=VALUE") for each in wrong])
    return dict(each.split("=", 1) for each in given or ())
