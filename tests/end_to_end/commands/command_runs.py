"""Studies of the programs in `programs`, and what there is of them among the processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil

from hydro.client import Client, Command, Study, log_pattern, minimize, uniform
from hydro.client.suite.local import LocalSuite

PROGRAMS = Path(__file__).parents[1] / "programs"
LOSSES = log_pattern(r"step (?P<step>\d+) accuracy (?P<accuracy>\S+) loss (?P<loss>\S+)")


def create(
    client: Client,
    study_id: str,
    program: str,
    *arguments: str,
    command: dict[str, Any] | None = None,
    **settings: Any,
) -> Study:
    """A study of a program in `programs`, one trial after the other."""
    words = ["python", f"${{hydro.source_path}}/{program}", *arguments]
    defaults = {"search_space": {"x": uniform(0, 1)}, "objective": minimize("loss"), "sampler": "random"}
    return client.create_study(
        study_id,
        command=Command(words, **(command or {})),
        source_path=str(PROGRAMS),
        **{**defaults, "parallelism": 1, **settings},
    )


def below(suite: LocalSuite, word: str) -> list[psutil.Process]:
    """Processes of the suite with the word in their command line."""
    found = []
    for process in psutil.Process(suite.process.pid).children(recursive=True):
        try:
            if any(word in each for each in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
