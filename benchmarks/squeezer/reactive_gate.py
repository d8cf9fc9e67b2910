"""The gate without a forecast: open from a bubble's begin to its end."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from hydro.squeezer.events import EventKind, EventReader
from hydro.squeezer.gate import ControllerGate

_FAR_NS: Final = 3600 * 1_000_000_000
_IDLE_NS: Final = 50_000_000
_INDICES: Final = 64
"""More than the replayed schedule has."""


class ReactiveGate(threading.Thread):
    """Opens at each wait of a ring without a deadline, and closes when the wait has ended."""

    def __init__(self, ring: Path) -> None:
        super().__init__(name=f"reactive-{ring.stem}", daemon=True)
        self._reader = EventReader.attach(ring)
        self._reader.want(range(_INDICES))
        self.gate = ControllerGate.create(ring.with_suffix(".gate"), ring.name)
        self._stopping = threading.Event()
        self.start()

    def run(self) -> None:
        """Serves events until stopped."""
        while not self._stopping.is_set():
            for event in self._reader.read(_IDLE_NS):
                if event.kind is EventKind.BEGIN:
                    self.gate.open(event.wait, time.monotonic_ns() + _FAR_NS, _FAR_NS)
                elif event.kind is EventKind.END:
                    self.gate.close()

    def stop(self) -> None:
        """Ends the claim, and with it the trial's process."""
        self._stopping.set()
        self.join()
        self.gate.revoke()
