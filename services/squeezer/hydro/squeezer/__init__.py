"""Fills the bubbles of a pipeline run with trials, and does not slow the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydro.squeezer.hooks.attachment import Attachment, attach

__all__ = ["Attachment", "attach"]


def __getattr__(name: str) -> Any:
    # Lazily: the hook needs torch, the squeezer's own process does not.
    if name in __all__:
        from hydro.squeezer.hooks import attachment

        return getattr(attachment, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
