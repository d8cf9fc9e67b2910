"""Names of resources: a class each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from hydro.kit.errors import FieldViolation, InvalidArgument

_STUDY = re.compile(r"projects/([^/]+)/studies/([^/]+)")
_TRIAL = re.compile(r"(projects/[^/]+/studies/[^/]+)/trials/(\d+)")


@dataclass(frozen=True, slots=True)
class StudyName:
    """projects/*/studies/*."""

    project: str
    study: str

    def __str__(self) -> str:
        return f"projects/{self.project}/studies/{self.study}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the full name.

        Raises:
            InvalidArgument: it is none.
        """
        found = _STUDY.fullmatch(text)
        if found is None:
            raise _malformed("study", text, "projects/default/studies/digits")
        return cls(found[1], found[2])

    def trial(self, number: int) -> TrialName:
        """The name of one of its trials."""
        return TrialName(self, number)


@dataclass(frozen=True, slots=True)
class TrialName:
    """projects/*/studies/*/trials/*, the last part a number from 0."""

    study: StudyName
    number: int

    def __str__(self) -> str:
        return f"{self.study}/trials/{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the full name.

        Raises:
            InvalidArgument: it is none.
        """
        found = _TRIAL.fullmatch(text)
        if found is None:
            raise _malformed("trial", text, "projects/default/studies/digits/trials/3")
        return cls(StudyName.parse(found[1]), int(found[2]))


def _malformed(kind: str, text: str, example: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation("name", f"{text!r} is no {kind}'s name; write it as {example!r}")])
