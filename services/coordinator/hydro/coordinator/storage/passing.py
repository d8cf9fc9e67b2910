"""Which of the database's errors pass."""

from __future__ import annotations

import asyncpg

# Classes 40 (another transaction won), 57P (the server is stopping or starting), 08 (the connection broke) and 53 (it
# has no room); 25P03: this process stood still for too long inside a transaction.
_PASSING = ("40", "57P", "08", "53", "25P03")


def is_passing(error: BaseException | None) -> bool:
    """Whether the same may well succeed later."""
    while error is not None:
        # asyncpg raises InternalClientError for a connection that broke while it was idle.
        if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
            return True
        code = getattr(error, "sqlstate", None)
        if isinstance(code, str) and code.startswith(_PASSING):
            return True
        error = error.__cause__
    return False
