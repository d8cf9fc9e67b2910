"""python -m benchmarks.end_to_end --json FILE [--quick] [--only MODEL/ARM ...]

What each arm made of each model is kept beside FILE, in FILE.parts, until the report is written: a run that was
interrupted goes on where it stopped, and `--only` runs some of the four parts alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.end_to_end import hydro_arm, optuna_arm
from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.subject import SUBJECTS, Subject, quick
from benchmarks.end_to_end.summary import FIGURES, Comparison, summarize
from benchmarks.machine import commit, describe
from benchmarks.report import read_options, write_report

ARMS: Mapping[str, Callable[[Subject, Mapping[str, Any], optuna_arm.Say], Outcome]] = {
    "hydro": hydro_arm.run,
    "optuna": optuna_arm.run,
}
PARTS = tuple(f"{subject.name}/{arm}" for subject in SUBJECTS for arm in ARMS)


class Parts:
    """The outcomes of a run so far, on disk."""

    def __init__(self, report: Path) -> None:
        self._folder = report.with_name(f"{report.name}.parts")

    def known(self, subject: Subject, arm: str) -> Outcome | None:
        """One part as it stands on disk, if it was run with these settings."""
        path = self._path(subject, arm)
        outcome = Outcome.from_row(json.loads(path.read_text())) if path.exists() else None
        return outcome if outcome is not None and outcome.settings == _settings(subject) else None

    def run(self, subject: Subject, arm: str) -> Outcome:
        """Runs one part and keeps its outcome."""
        outcome = ARMS[arm](subject, _settings(subject), _say(f"{subject.name}/{arm}"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(subject, arm).write_text(json.dumps(outcome.to_row(), indent=1))
        return outcome

    def _path(self, subject: Subject, arm: str) -> Path:
        return self._folder / f"{subject.name}-{arm}.json"

    def remove(self) -> None:
        """Forgets them: they are in the report."""
        for path in self._folder.glob("*.json"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()


def main() -> None:
    """Runs what is wanted, and writes the report when all four parts are there."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    wanted, rest = own.parse_known_args()
    options = read_options(str(__doc__), rest)
    machine, parts = describe(), Parts(options.json)
    subjects = [quick(subject) for subject in SUBJECTS] if options.quick else list(SUBJECTS)
    outcomes = _quick_outcomes(parts, subjects) if options.quick else _outcomes(parts, subjects, wanted.only)
    if len(outcomes) < len(PARTS):
        sys.stdout.write(f"kept {', '.join(outcomes)}; the report is written when all of {', '.join(PARTS)} are\n")
        return
    comparisons = [
        Comparison(subject, outcomes[f"{subject.name}/optuna"], outcomes[f"{subject.name}/hydro"])
        for subject in subjects
    ]
    rows = [{**outcome.to_row(), "total_seconds": outcome.total_seconds} for outcome in outcomes.values()]
    summary = dict.fromkeys(FIGURES) if options.quick else summarize(comparisons)
    write_report(options.json, rows, summary, machine=machine)
    parts.remove()
    sys.stdout.write(f"{json.dumps(summary, indent=1)}\n")


def _outcomes(parts: Parts, subjects: Sequence[Subject], wanted: Sequence[str]) -> dict[str, Outcome]:
    """The parts in their order, one at a time: each has the machine for itself."""
    found = {}
    for subject in subjects:
        for arm in ARMS:
            name = f"{subject.name}/{arm}"
            outcome = parts.known(subject, arm) or (parts.run(subject, arm) if name in wanted else None)
            if outcome is not None:
                found[name] = outcome
    return found


def _settings(subject: Subject) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(subject)))
    return {**plain, "commit": commit()}


def _quick_outcomes(parts: Parts, subjects: Sequence[Subject]) -> dict[str, Outcome]:
    """All parts; the models side by side, because nothing is timed."""
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(_outcomes, parts, [subject], PARTS) for subject in subjects]
        return {name: outcome for each in running for name, outcome in each.result().items()}


def _say(part: str) -> optuna_arm.Say:
    start = time.perf_counter()

    def say(text: str) -> None:
        sys.stdout.write(f"{part} {time.perf_counter() - start:7.1f} s: {text}\n")
        sys.stdout.flush()

    return say


if __name__ == "__main__":
    main()
