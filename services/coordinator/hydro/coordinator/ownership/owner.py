"""What happens to a call that reaches a coordinator which does not decide about it."""

from __future__ import annotations

from hydro.kit.errors import Unavailable


class NotOwner(Unavailable):
    """Another coordinator decides here, or nobody does right now: ask again, and the call goes to who does."""
