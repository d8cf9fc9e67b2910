"""hydro doctor: what works here, and what to do about the rest."""

from __future__ import annotations

import typer
from rich.markup import escape

from hydro.client.command.options import DEFAULT_ADDRESS, Address
from hydro.client.command.output import say
from hydro.client.diagnosis import Finding, Severity, diagnose
from hydro.client.suite.settings import SuiteSettings

_MARKS = {
    Severity.FINE: "[green]✓[/]",
    Severity.NOTE: "[yellow]·[/]",
    Severity.WRONG: "[red]✗[/]",
}


def doctor(address: Address = DEFAULT_ADDRESS) -> None:
    """Check this environment, the services and the database, and say what to do about what is wrong."""
    findings = diagnose(address, SuiteSettings())
    for finding in findings:
        _print(finding)
    if any(finding.severity is Severity.WRONG for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    say(f"{_MARKS[finding.severity]} [bold]{finding.subject}[/]  {escape(finding.found)}")
    if finding.advice:
        say(f"    {escape(finding.advice)}")
