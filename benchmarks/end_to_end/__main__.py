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

from benchmarks.end_to_end import hydro_arm, optuna_arm
from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.subject import SUBJECTS, Subject, quick
from benchmarks.end_to_end.summary import FIGURES, Comparison, summarize
from benchmarks.kept import Kept
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report

ARMS: Mapping[str, Callable[[Subject, optuna_arm.Say], Outcome]] = {
    "hydro": hydro_arm.run,
    "optuna": optuna_arm.run,
}
PARTS = tuple(f"{subject.name}/{arm}" for subject in SUBJECTS for arm in ARMS)


def main() -> None:
    """Runs what is wanted, and writes the report when all four parts are there."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    wanted, rest = own.parse_known_args()
    options = read_options(str(__doc__), rest)
    machine, kept = describe(), Kept(options.json, "end_to_end")
    subjects = [quick(subject) for subject in SUBJECTS] if options.quick else list(SUBJECTS)
    outcomes = _quick_outcomes(kept, subjects) if options.quick else _outcomes(kept, subjects, wanted.only)
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
    kept.remove()
    sys.stdout.write(f"{json.dumps(summary, indent=1)}\n")


def _outcomes(kept: Kept, subjects: Sequence[Subject], wanted: Sequence[str]) -> dict[str, Outcome]:
    """The parts in their order, one at a time: each has the machine for itself."""
    found = {}
    for subject in subjects:
        for arm in ARMS:
            name = f"{subject.name}/{arm}"
            row = kept.get(name, asdict(subject))
            if row is None and name in wanted:
                row = ARMS[arm](subject, _say(name)).to_row()
                kept.put(name, asdict(subject), row)
            if row is not None:
                found[name] = Outcome.from_row(row)
    return found


def _quick_outcomes(kept: Kept, subjects: Sequence[Subject]) -> dict[str, Outcome]:
    """All parts; the models side by side, because nothing is timed."""
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(_outcomes, kept, [subject], PARTS) for subject in subjects]
        return {name: outcome for each in running for name, outcome in each.result().items()}


def _say(part: str) -> optuna_arm.Say:
    start = time.perf_counter()

    def say(text: str) -> None:
        sys.stdout.write(f"{part} {time.perf_counter() - start:7.1f} s: {text}\n")
        sys.stdout.flush()

    return say


if __name__ == "__main__":
    main()
