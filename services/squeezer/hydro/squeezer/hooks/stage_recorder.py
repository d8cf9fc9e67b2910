"""Keeps some steps of a stage for `hydro bubbles`: a bounded list in memory, written to a file when it is complete."""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from hydro.squeezer.events import EventKind
from hydro.squeezer.hooks.engine import PipelinePlace
from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.hooks.recorder_settings import RecorderSettings
from hydro.squeezer.pipeline import StageMemory
from hydro.squeezer.shared_page import boot_number

CAPACITY: Final = 400_000


class StageRecorder:
    """Records the steps after the first few: a `StageListener`.

    What has been recorded is written once, when there are enough steps or the process ends. Spans that find no room in
    the buffer are dropped and counted.
    """

    activities = frozenset(Activity)

    def __init__(self, settings: RecorderSettings, place: PipelinePlace) -> None:
        self._settings = settings
        self._place = place
        self._last_step = settings.skip_steps + settings.steps - 1
        self._spans: list[tuple[int, int, int, int, int]] = []
        self._steps: list[tuple[int, int, int]] = []
        self._open: dict[tuple[int, int], int] = {}
        self._step_begin_ns = 0
        self._memory = StageMemory()
        self._smallest_free_bytes: int | None = None
        self._dropped = 0
        self._is_written = False
        self.hook_cost_ns: Callable[[], int] = lambda: 0
        """Gives the processor time that the hook has taken so far."""
        self._first_cost_ns: int | None = None
        atexit.register(self.close)

    def take(
        self, kind: EventKind, stamp_ns: int, schedule_index: int, step: int, activity: Activity | None, /
    ) -> None:
        """Takes an event of a step that is to be recorded."""
        if self._is_written or step < self._settings.skip_steps:
            return
        match kind:
            case EventKind.STEP_BEGIN:
                self._step_begin_ns = stamp_ns
                if self._first_cost_ns is None:
                    self._first_cost_ns = self.hook_cost_ns()
                if step > self._last_step:
                    # So the last step's end is known, and what came after it is not part of a step.
                    self.close()
            case EventKind.STEP_END:
                self._steps.append((step, self._step_begin_ns, stamp_ns))
            case EventKind.BEGIN if activity is not None:
                self._open[activity, schedule_index] = stamp_ns
            case EventKind.END if activity is not None:
                self._keep(step, activity, schedule_index, stamp_ns)

    def take_memory(self, memory: StageMemory) -> None:
        """Keeps the memory of now, and the least that was free."""
        self._memory = memory
        smallest = self._smallest_free_bytes
        self._smallest_free_bytes = memory.free_bytes if smallest is None else min(smallest, memory.free_bytes)

    def close(self) -> None:
        """Writes what there is. A second call does nothing."""
        if self._is_written:
            return
        self._is_written = True
        atexit.unregister(self.close)
        path = self._settings.directory / f"stage-{self._place.replica}-{self._place.stage}.json"
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(self._content()), encoding="utf-8")
        unfinished.replace(path)

    def _keep(self, step: int, activity: Activity, schedule_index: int, end_ns: int) -> None:
        begin_ns = self._open.pop((activity, schedule_index), None)
        if begin_ns is None or len(self._spans) >= CAPACITY:
            self._dropped += 1
            return
        self._spans.append((step, activity, schedule_index, begin_ns, end_ns))

    def _content(self) -> dict[str, Any]:
        return {
            **asdict(self._place),
            "host": socket.gethostname(),
            "boot": boot_number(),
            "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
            "steps": self._steps,
            "spans": self._spans,
            "dropped": self._dropped,
            "hook_cost_ns": self.hook_cost_ns() - (self._first_cost_ns or 0),
            "memory": {**asdict(self._memory), "smallest_free_bytes": self._smallest_free_bytes or 0},
        }
