"""hydro study export: a study's trials for other tools."""

from __future__ import annotations

import sys
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from hydro.client.command.options import DEFAULT_ADDRESS, DEFAULT_PROJECT, Address, Project, StudyId, connect
from hydro.client.command.output import say
from hydro.client.study import Study
from hydro.kit.errors import FailedPrecondition, FieldViolation, InvalidArgument


class Format(Enum):
    """What a study is written as."""

    CSV = "csv"
    OPTUNA = "optuna"


def export(
    study_id: StudyId,
    format: Annotated[
        Format, typer.Option(help="csv: a row for each search trial. optuna: the study in an Optuna storage.")
    ] = Format.CSV,
    output: Annotated[
        str, typer.Option(help="File of the CSV, left out: standard output. URL of the storage: sqlite:///digits.db.")
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    project: Project = DEFAULT_PROJECT,
) -> None:
    """Write a study's search trials as CSV, or the study for Optuna's plots and dashboard."""
    write = _to_csv if format is Format.CSV else _to_optuna
    write(connect(address, project).get_study(study_id), output)


def _to_csv(study: Study, output: str) -> None:
    require("pandas", "dataframe")
    table = study.to_dataframe()
    if not output:
        table.to_csv(sys.stdout, index=False)
        return
    try:
        table.to_csv(Path(output), index=False)
    except OSError as error:
        raise _wrong(output, f"cannot be written: {error.strerror or error}") from None
    say(f"written {output}: {len(table)} trials")


def _to_optuna(study: Study, output: str) -> None:
    require("optuna", "optuna")
    if "://" not in output:
        raise _wrong(output, f"give the URL of an Optuna storage: sqlite:///{output or f'{study.name.study}.db'}")
    exported = study.to_optuna(output)
    say(f"written {output}: {len(exported.trials)} trials; look at them with: optuna-dashboard {output}")


def _wrong(output: str, advice: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation("--output", f"{output!r} {advice}" if output else advice)])


def require(module: str, extra: str) -> None:
    """Raises FailedPrecondition, with what to install, where a package is missing that an extra of the client has."""
    if find_spec(module) is None:
        raise FailedPrecondition(f"{module} is not installed here: pip install 'hydro-client[{extra}]'")
