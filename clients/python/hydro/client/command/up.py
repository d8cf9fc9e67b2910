"""hydro up: the whole suite on this machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from hydro.client.command.output import console, say
from hydro.client.suite.plan import SuitePlan
from hydro.client.suite.ports import Addresses
from hydro.client.suite.run import run_suite
from hydro.client.suite.settings import SuiteSettings
from hydro.client.suite.supervisor import Happening, Report

_COLOURS = {
    Happening.READY: "green",
    Happening.DIED: "red",
    Happening.RESTARTING: "yellow",
    Happening.STOPPED: "bright_black",
}


def up(
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Listen on any free ports, not 7400-7402.")] = False,
) -> None:
    """Start Postgres, the coordinator, the tuner and the squeezers (HYDRO_SQUEEZERS), and keep them until Ctrl-C.

    Data, logs and the database are in HYDRO_DATA_DIRECTORY; with HYDRO_DATABASE_URL, that database is used instead.
    """
    settings = SuiteSettings()
    addresses = (Addresses.free if free_ports else Addresses.standard)(settings.squeezers)
    run_suite(settings, addresses, on_ready=_show, listener=_tell)


def _show(plan: SuitePlan) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("coordinator", f"[bold]{plan.addresses.coordinator}[/]", "Client(...) and --address")
    table.add_row("tuner", plan.addresses.tuner)
    table.add_row("squeezer", ", ".join(plan.addresses.squeezers), "HYDRO_SQUEEZER_ADDRESSES of pipeline runs")
    table.add_row("database", "HYDRO_DATABASE_URL" if plan.postgres is None else "Postgres, started here")
    table.add_row("data", str(plan.data_directory))
    table.add_row("logs", str(plan.logs))
    table.add_row("gates", str(plan.gate_directory))
    console().print(table, highlight=False)
    say("[green]The suite is up.[/] Ctrl-C stops it.")


def _tell(report: Report) -> None:
    detail = f"  {report.detail}" if report.detail else ""
    say(f"[{_COLOURS[report.happening]}]{report.child:12}{report.happening.value}[/]{detail}")
