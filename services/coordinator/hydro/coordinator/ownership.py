"""Who decides: each study without a task has one owner among the coordinators, allocation has one for all else."""

from __future__ import annotations

from hydro.kit.errors import Unavailable


class NotOwner(Unavailable):
    """Another coordinator decides here, or nobody does right now: ask again, and the call goes to who does."""
