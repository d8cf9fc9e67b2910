"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hydro.client.names import StudyName, TrialName
from hydro.client.snapshots import TrialSnapshot

_WIDEST = 10_000
STATE_COLOURS = {
    "SEARCHING": "bright_blue",
    "RUNNING": "bright_blue",
    "READY": "green",
    "SUCCEEDED": "green",
    "PAUSED": "yellow",
    "DRAINING": "yellow",
    "PRUNED": "magenta",
    "FAILED": "red",
    "GONE": "red",
    "CANCELLED": "red",
}


def print_json(value: object) -> None:
    """Prints a value of the SDK as JSON."""
    sys.stdout.write(json.dumps(plain(value), indent=2) + "\n")


def print_line(value: object) -> None:
    """Prints a value of the SDK as one line of JSON, at once."""
    sys.stdout.write(json.dumps(plain(value)) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows, of rich's markup, under a head."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def say(text: str) -> None:
    """Prints a line of rich's markup."""
    console().print(text, highlight=False)


def fail(message: str) -> NoReturn:
    """Ends the command with a message."""
    Console(stderr=True).print(f"[bold red]error[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)


def console() -> Console:
    """Standard output. What is no terminal gets every row in one line."""
    found = Console(soft_wrap=True)
    return found if found.is_terminal else Console(soft_wrap=True, width=_WIDEST)


def coloured(state: Enum) -> str:
    """The state's name in its colour."""
    return f"[{STATE_COLOURS.get(state.name, 'bright_black')}]{state.name}[/]"


def short(value: object) -> str:
    """A number of four digits; anything else as it is."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
    return escape(str(value))


def pairs(values: Mapping[str, object]) -> str:
    """name=value, one after the other."""
    return "  ".join(f"{name}={short(value)}" for name, value in values.items())


def plain(value: Any) -> Any:
    """The value with its dataclasses, names, times and enums as what JSON holds."""
    match value:
        case StudyName() | TrialName() | datetime():
            return str(value)
        case Enum():
            return value.name
        case float():
            # JSON has no such numbers: they are the texts that the API's own JSON has.
            return value if math.isfinite(value) else _text_of(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value


def _text_of(number: float) -> str:
    """A number that is not finite."""
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def print_trials(trials: Sequence[TrialSnapshot]) -> None:
    """One line for each trial."""
    rows = [
        (str(each.name.number), coloured(each.state), str(each.steps), short(each.value), pairs(each.hyperparameters))
        for each in trials
    ]
    print_table(("trial", "state", "steps", "value", "hyperparameters"), rows)
