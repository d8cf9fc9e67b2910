"""The seed of one ask."""

from __future__ import annotations

import hashlib


def ask_seed(study_seed: int, index: int, attempt: int = 0) -> int:
    """A seed of 32 bits for the ask of a number: neighbouring asks and studies get unrelated ones.

    A further attempt at the same ask, because the one before gave what a trial has had, gets one more.
    """
    text = f"{study_seed}/{index}/{attempt}" if attempt else f"{study_seed}/{index}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
