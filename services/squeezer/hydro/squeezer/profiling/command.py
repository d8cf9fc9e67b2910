"""`hydro bubbles -- torchrun ... train.py`: profiles the bubbles of any pipeline run, without a suite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from hydro.kit.errors import FieldViolation, HydroError, InvalidArgument
from hydro.squeezer.hooks import injection
from hydro.squeezer.hooks.recorder_settings import DIRECTORY_VARIABLE, SKIP_VARIABLE, STEPS_VARIABLE
from hydro.squeezer.profiling.picture import require_matplotlib, save_picture
from hydro.squeezer.profiling.recording import Recording
from hydro.squeezer.profiling.report import make_report
from hydro.squeezer.profiling.text import to_text

_LOOK_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 30.0


def bubbles(
    command: Annotated[list[str], typer.Argument(help="What starts the run: -- torchrun --nproc-per-node 4 train.py")],
    steps: Annotated[int, typer.Option(help="Steps to record.")] = 20,
    skip_steps: Annotated[int, typer.Option(help="Steps before them: the first ones compile and allocate.")] = 3,
    output: Annotated[Path, typer.Option(help="Folder of bubbles.json and bubbles.png.")] = Path(),
    picture: Annotated[bool, typer.Option(help="Draw bubbles.png.")] = True,
    stop: Annotated[
        bool, typer.Option(help="End the run when the steps are recorded; else it goes on to its end.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the recordings; shared by all machines of a run that has several.")
    ] = None,
) -> None:
    """Profile a pipeline run's bubbles: its schedule over time, shares against theory, what trials would fit."""
    _require(steps >= 1, "steps", f"{steps}: give 1 or more")
    _require(skip_steps >= 0, "skip_steps", f"{skip_steps}: give 0 or more")
    if picture:
        require_matplotlib()
    output.mkdir(parents=True, exist_ok=True)
    with _recordings(folder) as recordings:
        status = _run(command, recordings, steps, skip_steps, stop)
        try:
            recording = Recording.load(recordings)
        except HydroError:
            # The run's own failure says more than that nothing was recorded.
            if status:
                raise typer.Exit(status) from None
            raise
    report = make_report(recording)
    typer.echo(to_text(report))
    written = [output / "bubbles.json"]
    written[0].write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    if picture:
        written.append(output / "bubbles.png")
        save_picture(recording, report, written[-1])
    typer.echo(f"written: {', '.join(map(str, written))}")
    if status:
        raise typer.Exit(status)


@contextmanager
def _recordings(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="hydro-bubbles-") as temporary:
        yield Path(temporary)


def _run(command: Sequence[str], folder: Path, steps: int, skip_steps: int, stop: bool) -> int:
    """Runs the command to its end, or to that of the recording, and gives its exit status."""
    environment = os.environ | {
        DIRECTORY_VARIABLE: str(folder),
        STEPS_VARIABLE: str(steps),
        SKIP_VARIABLE: str(skip_steps),
        "PYTHONPATH": injection.python_path(os.environ.get("PYTHONPATH")),
    }
    try:
        process = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise InvalidArgument.of(
            [FieldViolation("command", f"{command[0]!r} does not start: {error.strerror}")]
        ) from error
    while True:
        try:
            return process.wait(_LOOK_SECONDS if stop else None)
        except subprocess.TimeoutExpired:
            if _is_complete(folder):
                _end(process)
                return 0
        except KeyboardInterrupt:
            # The terminal has told the run as well; what was recorded by then counts.
            continue


def _is_complete(folder: Path) -> bool:
    found = list(folder.glob("stage-*.json"))
    return bool(found) and len(found) >= json.loads(found[0].read_text(encoding="utf-8"))["stages"]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    give_up_at = time.monotonic() + _GRACE_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        time.sleep(_LOOK_SECONDS)
    process.kill()
    process.wait()


def _require(holds: bool, field: str, description: str) -> None:
    if not holds:
        raise InvalidArgument.of([FieldViolation(field, description)])
