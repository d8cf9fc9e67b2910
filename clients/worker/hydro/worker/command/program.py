"""One run of a program: its processes and its output."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hydro.kit.parent import tethered_command
from hydro.worker.command.launch import Launch

_GUARD = str(Path(__file__).with_name("guard.py"))
_LONGEST_LINE_CHARACTERS = 64 * 1024
_MOST_LINES = 10_000
_TAIL_CHARACTERS = 4000
_END_SECONDS = 30.0
_LOOK_SECONDS = 0.01
_DEATH_SIGNAL = signal.SIGTERM
"""Of the worker: the guard then ends everything, which a SIGKILL would not let it."""


class Program:
    """Runs behind its guard. It must be started on a thread that stays: it ends with that thread.

    Args:
        launch: What is run.
        lock: A descriptor, which the guard holds until nothing of the program is left; it is closed here.
        wake: Called, on another thread, when there is something new.
        is_held: It is started stopped, for somebody else to continue: `group`.
    """

    def __init__(self, launch: Launch, lock: int, wake: Callable[[], None], *, is_held: bool = False) -> None:
        self._wake = wake
        self._lines: queue.Queue[str] = queue.Queue(_MOST_LINES)
        self._error_tail = ""
        self._kill_at: float | None = None
        self._group: int | None = None
        self._told: int | None
        self._told, *telling = os.pipe() if is_held else (None,)
        words = (lock, *(telling or [-1]), len(launch.cleanup))
        command = (*map(str, words), *launch.cleanup, *launch.arguments)
        passed = [lock, *telling]
        try:
            self._process = subprocess.Popen(
                tethered_command((sys.executable, "-I", "-S", _GUARD, *command), death_signal=_DEATH_SIGNAL),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(launch.environment),
                cwd=launch.directory,
                pass_fds=passed,
                start_new_session=True,
                bufsize=0,
            )
        finally:
            for each in passed:
                os.close(each)
        self._readers = [
            self._follow(self._process.stdout, is_error=False),
            self._follow(self._process.stderr, is_error=True),
        ]

    @property
    def error_tail(self) -> str:
        """The last of what it wrote to standard error."""
        return self._error_tail

    @property
    def group(self) -> int | None:
        """The process group of one that is held, as soon as it is stopped; None: it could not be started."""
        if self._told is not None:
            text = os.read(self._told, 32)
            os.close(self._told)
            self._told, self._group = None, int(text) if text else None
        return self._group

    @property
    def has_left(self) -> bool:
        """Whether nothing of it runs any more; its output may not be read yet."""
        return self._process.poll() is not None

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left, and all of its output is read."""
        return self._process.poll() is not None and not any(each.is_alive() for each in self._readers)

    @property
    def exit_code(self) -> int:
        """Its exit code, once it has ended: above 128, the number of a signal."""
        return self._process.wait()

    def take_lines(self) -> list[str]:
        """Gives the lines, without their ends, that have come since the last time."""
        lines: list[str] = []
        while len(lines) < _MOST_LINES and not self._lines.empty():
            lines.append(self._lines.get())
        return lines

    def stop(self, grace_seconds: float) -> None:
        """Asks it to end; `look_after` kills it when the grace is over. A second call changes nothing."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_seconds
            self._send(b"t")

    def give_time(self, grace_seconds: float) -> None:
        """Lets it end by itself first: it was told."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_seconds

    def look_after(self) -> None:
        """Kills it when its grace is over."""
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self.kill()

    def kill(self) -> None:
        """Ends it and everything that it has started."""
        self._kill_at = self._kill_at or time.monotonic()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Kills it, and returns when nothing of it is left, or that takes too long."""
        self.kill()
        end = time.monotonic() + _END_SECONDS
        while not self.has_ended and time.monotonic() < end:
            # The readers must not wait for room.
            self.take_lines()
            time.sleep(_LOOK_SECONDS)

    def _send(self, byte: bytes) -> None:
        try:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.write(byte)
                self._process.stdin.flush()
        except BrokenPipeError:
            # It has ended.
            return

    def _follow(self, stream: IO[bytes] | None, *, is_error: bool) -> threading.Thread:
        thread = threading.Thread(target=self._read, args=(stream, is_error), name="program-output", daemon=True)
        thread.start()
        return thread

    def _read(self, stream: io.FileIO, is_error: bool) -> None:
        with io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8", errors="replace") as text:
            while line := text.readline(_LONGEST_LINE_CHARACTERS):
                if is_error:
                    self._error_tail = (self._error_tail + line)[-_TAIL_CHARACTERS:]
                self._lines.put(line.rstrip("\n"))
                self._wake()
        self._wake()
