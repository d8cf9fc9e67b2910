"""What users put on studies and trials to find them by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hydro.kit.errors import FieldViolation, InvalidArgument

Tags = Mapping[str, str]
MAX_TAGS = 64
MAX_VALUE_CHARACTERS = 256
_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


def validate_tags(tags: Tags, field: str = "tags") -> list[FieldViolation]:
    """What is wrong with them."""
    found = []
    if len(tags) > MAX_TAGS:
        found.append(FieldViolation(field, f"are {len(tags)}: give at most {MAX_TAGS}"))
    for key, value in list(tags.items())[: 2 * MAX_TAGS]:
        if not _KEY.fullmatch(key):
            description = f"{key[:100]!r} is no key: use 1 to 63 of a-z, 0-9, '_', '.' and '-', a letter or digit first"
            found.append(FieldViolation(field, description))
        elif len(value) > MAX_VALUE_CHARACTERS or "\x00" in value:
            description = f"is {value[:100]!r}: use at most {MAX_VALUE_CHARACTERS} characters, and no NUL"
            found.append(FieldViolation(f"{field}[{key}]", description))
    return found


def changed(stands: Tags, added: Tags, removed: Iterable[str]) -> dict[str, str]:
    """The tags that stand, with those added, without those removed.

    Raises:
        InvalidArgument: they cannot be tags, or are too many.
    """
    gone = set(removed)
    result = {key: value for key, value in {**stands, **added}.items() if key not in gone}
    violations = [
        *(FieldViolation("removed_tags", f"{key!r} is to be added too") for key in sorted(gone & added.keys())),
        *validate_tags(added),
        *(validate_tags(result) if len(result) > MAX_TAGS >= len(added) else ()),
    ]
    if violations:
        raise InvalidArgument.of(violations)
    return result
