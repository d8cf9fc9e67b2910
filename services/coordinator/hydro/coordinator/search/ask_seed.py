"""The seed of one ask."""

from __future__ import annotations

import hashlib


def ask_seed(study_seed: int, index: int) -> int:
    """A seed of 32 bits for the ask of a number: neighbouring asks and studies get unrelated ones."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}/{index}".encode()).digest()[:4])
