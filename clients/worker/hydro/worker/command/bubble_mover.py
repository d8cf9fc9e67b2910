"""Programs on a slot: they run in its bubbles alone, moved by signals."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hydro.client.commands import InBubbles
from hydro.squeezer.process_gate import ProcessGate
from hydro.squeezer.worker_gate import WorkerGate
from hydro.worker.command.program import Program


class BubbleMover:
    """Moves one program after the other with the gate of a slot, on a thread for each.

    Args:
        gate: Of the slot.
        in_bubbles: What the command has asked for.
    """

    def __init__(self, gate: WorkerGate, in_bubbles: InBubbles) -> None:
        self._gate = gate
        self._in_bubbles = in_bubbles
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def follow(self, program: Program, wake: Callable[[], None]) -> None:
        """Moves a program, which was started stopped, until it has ended; the one before has.

        Args:
            program: Whose process group is moved.
            wake: Called, on another thread, when the slot has gone.
        """
        self.wait()
        self._thread = threading.Thread(target=self._move, args=(program, wake), name="bubble-mover", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Returns while the slot is ours.

        Raises:
            GateLost: It has gone, or has no bubbles for the program, which is stopped and stays so.
        """
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Returns when no program is moved any more: when it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _move(self, program: Program, wake: Callable[[], None]) -> None:
        settings = self._in_bubbles
        try:
            group = program.group
            if group is not None:
                ProcessGate(
                    self._gate, group, lambda: program.has_left, settings.grace_seconds, settings.shortest_seconds
                ).run()
        except Exception as error:  # noqa: BLE001 - raised again where the programs are looked after
            self._error = error
            wake()
