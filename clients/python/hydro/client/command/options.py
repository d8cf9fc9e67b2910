"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from hydro.client.client import Client

Address = Annotated[
    str, typer.Option("--address", envvar="HYDRO_COORDINATOR_ADDRESS", help="host:port of the coordinator.")
]
Project = Annotated[str, typer.Option(envvar="HYDRO_PROJECT", help="Project of the study.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StudyId = Annotated[str, typer.Argument(help="Id of the study.", show_default=False)]

DEFAULT_ADDRESS = "localhost:7400"
DEFAULT_PROJECT = "default"


def connect(address: str, project: str = DEFAULT_PROJECT) -> Client:
    """A client for one command."""
    return Client(address, project=project)
