"""Waiting for what processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

PATIENCE_SECONDS = 150.0


def wait_until(is_so: Callable[[], Any], what: str) -> Any:
    """Waits for something that the processes will do, and gives what it found."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)
    return found
