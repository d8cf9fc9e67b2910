"""Pages of a list: sizes and tokens."""

from __future__ import annotations

import base64
import binascii
import math
from datetime import UTC, datetime

from hydro.coordinator.storage.trial_values import Place
from hydro.coordinator.study import Study, StudyPlace
from hydro.kit.errors import FieldViolation, InvalidArgument

MAX_PAGE_SIZE = 1000


def page_size(requested: int, default: int) -> int:
    """How many items a page has."""
    if requested < 0:
        raise InvalidArgument.of([FieldViolation("page_size", f"is {requested}: give 0 or more")])
    return min(requested or default, MAX_PAGE_SIZE)


def token_of(last: str) -> str:
    """The token of the page behind an item."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def last_of(token: str) -> str:
    """The item that a token's page is behind; empty: the first page."""
    try:
        last = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument.of([_violation(token)]) from None
    if "\x00" in last:
        raise InvalidArgument.of([_violation(token)])
    return last


def place_token(number: int, value: float | None) -> str:
    """The token of the page behind a trial."""
    return token_of(f"{number}:{'' if value is None else repr(value)}")


def place_of(token: str) -> Place | None:
    """The trial that a token's page is behind; None: the first page."""
    if not token:
        return None
    try:
        number, _, value = last_of(token).partition(":")
        place = Place(int(number), float(value) if value else None)
    except ValueError:
        raise InvalidArgument.of([_violation(token)]) from None
    if not 0 <= place.number < 2**31 or (place.value is not None and not math.isfinite(place.value)):
        raise InvalidArgument.of([_violation(token)])
    return place


def study_token(study: Study) -> str:
    """The token of the page behind a study."""
    return token_of(f"{study.create_time.isoformat()} {study.name.study}")


def study_place_of(token: str) -> StudyPlace | None:
    """The study that a token's page is behind; None: the first page."""
    if not token:
        return None
    time, _, study = last_of(token).partition(" ")
    try:
        return StudyPlace(datetime.fromisoformat(time).astimezone(UTC), study)
    except (ValueError, OverflowError):
        raise InvalidArgument.of([_violation(token)]) from None


def _violation(token: str) -> FieldViolation:
    return FieldViolation("page_token", f"is {token[:100]!r}: give one that an earlier page gave, or none")
