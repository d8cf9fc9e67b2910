"""One class for each resource name. Nothing else in the coordinator puts a name together or takes it apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from hydro.kit.errors import FieldViolation, InvalidArgument

ID_PATTERN = "[a-z][a-z0-9-]{0,62}"
_DEVICE_ID = "[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}"
_DEVICE = re.compile(f"devices/{_DEVICE_ID}(/slots/{_DEVICE_ID})?")
_PROJECT = re.compile(f"projects/({ID_PATTERN})")
_STUDY = re.compile(f"projects/({ID_PATTERN})/studies/({ID_PATTERN})")
_TRIAL = re.compile(f"projects/({ID_PATTERN})/studies/({ID_PATTERN})/trials/(0|[1-9][0-9]{{0,8}})")
_SURROGATE = re.compile(f"projects/({ID_PATTERN})/surrogates/({ID_PATTERN})")
_LEASE = re.compile("leases/([1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """projects/*"""

    project: str

    @classmethod
    def parse(cls, text: str, field: str = "parent") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        return cls(*_match(_PROJECT, text, field, "projects/PROJECT"))

    def __str__(self) -> str:
        return f"projects/{self.project}"


@dataclass(frozen=True, slots=True, order=True)
class StudyName:
    """projects/*/studies/*"""

    project: str
    study: str

    @classmethod
    def parse(cls, text: str, field: str = "name") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        return cls(*_match(_STUDY, text, field, "projects/PROJECT/studies/STUDY"))

    def trial(self, number: int) -> TrialName:
        """Names a trial of the study."""
        return TrialName(self, number)

    def __str__(self) -> str:
        return f"projects/{self.project}/studies/{self.study}"


@dataclass(frozen=True, slots=True, order=True)
class TrialName:
    """projects/*/studies/*/trials/*: the last part is the trial's number in its study, from 0."""

    study: StudyName
    number: int

    @classmethod
    def parse(cls, text: str, field: str = "name") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        project, study, number = _match(_TRIAL, text, field, "projects/PROJECT/studies/STUDY/trials/NUMBER")
        return cls(StudyName(project, study), int(number))

    def __str__(self) -> str:
        return f"{self.study}/trials/{self.number}"


@dataclass(frozen=True, slots=True, order=True)
class SurrogateName:
    """projects/*/surrogates/*"""

    project: str
    surrogate: str

    @classmethod
    def parse(cls, text: str, field: str = "name") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        return cls(*_match(_SURROGATE, text, field, "projects/PROJECT/surrogates/SURROGATE"))

    def __str__(self) -> str:
        return f"projects/{self.project}/surrogates/{self.surrogate}"


@dataclass(frozen=True, slots=True, order=True)
class DeviceName:
    """devices/* or devices/*/slots/*"""

    path: str

    @classmethod
    def parse(cls, text: str, field: str = "name") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        _match(_DEVICE, text, field, "devices/DEVICE or devices/DEVICE/slots/SLOT")
        return cls(text)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True, order=True)
class LeaseName:
    """leases/*: the last part is the lease's fencing token."""

    fencing_token: int

    @classmethod
    def parse(cls, text: str, field: str = "lease") -> Self:
        """Reads the name; raises InvalidArgument with the request's `field`."""
        return cls(int(_match(_LEASE, text, field, "leases/NUMBER")[0]))

    def __str__(self) -> str:
        return f"leases/{self.fencing_token}"


def _match(pattern: re.Pattern[str], text: str, field: str, form: str) -> tuple[str, ...]:
    found = pattern.fullmatch(text)
    if found is None:
        shown = text if len(text) <= 100 else f"{text[:100]}..."
        raise InvalidArgument.of([FieldViolation(field, f"{shown!r} is not a name of the form {form}")])
    return found.groups()
