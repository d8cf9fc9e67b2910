"""What a trainer passes before each piece of work: always open on an exclusive device, on a slot only in bubbles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Gate(Protocol):
    """Lets work through in segments, and where it can be divided in parts of them.

    A trainer does all its work on the device in segments, none longer than one forward, one backward or one optimizer
    step of the whole bundle, and holds no segment open while it waits for anything else.
    """

    def segment(self, name: str) -> AbstractContextManager[None]:
        """Waits until there is time for this segment; the work is done inside the context.

        Args:
            name: "data", "forward", "backward", "optimizer" or "validation"; those of a name take about equally long.
        """
        ...

    @property
    def pause(self) -> Callable[[], None] | None:
        """Called between the ops of a forward, a backward or a validation, which may go on in another bubble.

        None: never waits. Asked before a segment too, to make ready what can pause outside of it.

        It may raise what `segment` raises.
        """
        ...


class OpenGate:
    """The gate of an exclusive device."""

    pause: Callable[[], None] | None = None
    """Nothing to wait for."""

    def segment(self, name: str) -> AbstractContextManager[None]:
        """Opens at once."""
        return nullcontext()
