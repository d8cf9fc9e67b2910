"""Why models do not run as one program."""

from __future__ import annotations

from hydro.kit.errors import FailedPrecondition


class NotFusible(FailedPrecondition):
    """The models cannot run as one program: the message says which op and where."""

    default_reason = "NOT_FUSIBLE"
