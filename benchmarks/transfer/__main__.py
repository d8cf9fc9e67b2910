"""python -m benchmarks.transfer --json FILE [--quick] [--only SUBJECT ...]

Every training is kept beside FILE, in FILE.parts, until the report is written: a run that was interrupted goes on where
it stopped, on the same commit. `--only` runs some of the subjects.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from benchmarks.kept import Kept
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from benchmarks.transfer.runs import Arm, Model, Runs
from benchmarks.transfer.subjects import STEPS_PER_OCTAVE, SUBJECTS, Subject, quick
from benchmarks.transfer.summary import FIGURES, Row, line, summarize, surrogate_row, target_row
from benchmarks.transfer.sweep import extend, sweep
from hydro.kit.memory import keep_freed_memory

NAMES = tuple(subject.name for subject in SUBJECTS)


def main() -> None:
    """Runs what is wanted, and writes the report when all subjects are there."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    wanted, rest = own.parse_known_args()
    options = read_options(str(__doc__), rest)
    machine = describe()
    subjects = [quick(each) if options.quick else each for each in SUBJECTS if each.name in wanted.only]
    kept = Kept(options.json, "transfer")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("spawn"), keep_freed_memory) as pool:
        rows = _rows(Runs(kept, pool), subjects)
    if len(subjects) < len(SUBJECTS):
        sys.stdout.write(f"the report is written when all of {', '.join(NAMES)} are wanted\n")
        return
    write_report(options.json, rows, dict.fromkeys(FIGURES) if options.quick else summarize(rows), machine=machine)
    kept.remove()


def _rows(runs: Runs, subjects: Sequence[Subject]) -> list[Row]:
    """Models side by side in threads that wait for trainings in the pool; the widest first."""
    start, rows = time.monotonic(), list[Row]()
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda subject: _subject_rows(runs, subject), subjects):
            rows += found
            for row in found:
                sys.stdout.write(f"{time.monotonic() - start:7.1f} s  {line(row)}\n")
            sys.stdout.flush()
    return rows


def _subject_rows(runs: Runs, subject: Subject) -> list[Row]:
    target = Model(subject, Arm.STANDARD, 1.0)
    target_curves = sweep(runs, target)
    models = [Model(subject, arm, width) for width in subject.widths for arm in Arm]
    found = [(model, sweep(runs, model)) for model in models]
    chosen = {round(curves.best() * STEPS_PER_OCTAVE) for _, curves in found}
    target_curves = extend(runs, target, target_curves, chosen)
    rows = [surrogate_row(model, curves, target_curves) for model, curves in found]
    return [target_row(target, target_curves), *rows]


if __name__ == "__main__":
    main()
