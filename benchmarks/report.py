"""What every benchmark is called with, and the JSON that it writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import describe


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's."""

    json: Path
    quick: bool


def read_options(description: str, arguments: Sequence[str] | None = None) -> Options:
    """Reads `--json FILE [--quick]`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the figures are written")
    parser.add_argument(
        "--quick", action="store_true", help="check in under a minute that everything runs; the summary stays null"
    )
    given = parser.parse_args(arguments)
    return Options(given.json, given.quick)


def write_report(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    summary: Mapping[str, float | None],
    *,
    machine: Mapping[str, Any] | None = None,
) -> None:
    """Writes `machine`, `rows` and `summary`; what was not measured is null, never left out.

    Args:
        path: Replaced if it exists.
        rows: One for each measurement.
        summary: The figures that the contract names, all of them.
        machine: As `describe` gave it before the measurement; None describes it now.
    """
    report = {"machine": machine or describe(), "rows": list(rows), "summary": dict(summary)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
