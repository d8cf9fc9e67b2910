"""hydro project: what a project may have, and has."""

from __future__ import annotations

from typing import Annotated

import typer

from hydro.client.command.options import DEFAULT_ADDRESS, DEFAULT_PROJECT, Address, AsJson, connect
from hydro.client.command.output import print_json, say

ProjectId = Annotated[str, typer.Argument(envvar="HYDRO_PROJECT", help="Id of the project.")]


def project(
    project_id: ProjectId = DEFAULT_PROJECT, as_json: AsJson = False, address: Address = DEFAULT_ADDRESS
) -> None:
    """Show a project: its open studies, and its quotas."""
    found = connect(address, project_id).get_project()
    if as_json:
        print_json(found)
        return
    quota = found.quota
    say(f"[bold]{project_id}[/]")
    say(f"open     {found.open_studies} studies{_limit(quota.open_studies)}")
    say(f"trials   in a study{_limit(quota.trials_per_study)}")
    say(f"reports  a second{_limit(quota.reports_per_second)}")


def _limit(limit: float) -> str:
    return f", at most {limit:g}" if limit else ", as many as are wanted"
