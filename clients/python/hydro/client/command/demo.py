"""hydro demo: one real tuning run through the whole suite."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer


def demo(
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Tune a real model on real data, end to end, and print what was measured.

    Starts the whole suite and a replayed pipeline run beside it, and stops everything it has started.
    """
    from hydro.client.demo.run import run_demo

    # So that what was started is stopped then too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run_demo(json_file)
