"""What is recorded of a stage, and where: set by `hydro bubbles` in the environment of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from hydro.kit.errors import FieldViolation, InvalidArgument

DIRECTORY_VARIABLE: Final = "HYDRO_BUBBLES_DIRECTORY"
STEPS_VARIABLE: Final = "HYDRO_BUBBLES_STEPS"
SKIP_VARIABLE: Final = "HYDRO_BUBBLES_SKIP_STEPS"


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """What is recorded, and where."""

    directory: Path
    steps: int = 20
    skip_steps: int = 3

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self | None:
        """Reads HYDRO_BUBBLES_*; None where no directory is named: nothing is recorded.

        Raises:
            InvalidArgument: a number is none.
        """
        directory = environment.get(DIRECTORY_VARIABLE)
        if not directory:
            return None
        return cls(Path(directory), _count(environment, STEPS_VARIABLE, 20), _count(environment, SKIP_VARIABLE, 3))


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit():
        raise InvalidArgument.of([FieldViolation(name, f"{text!r} is no number of steps: give 0 or more")])
    return int(text)
