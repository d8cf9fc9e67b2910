"""The processes of a suite: those that there are, and whether any outlives it."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil


def has_ended(process: psutil.Process) -> bool:
    """Whether a process runs no more. A zombie has ended: it waits for whoever took it over to look."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def words_of(process: psutil.Process) -> list[str]:
    """Its command line, each path cut to its name."""
    try:
        return [Path(word).name if word.startswith("/") else word for word in process.cmdline()]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


class ProcessTree:
    """Every process that was ever seen below the suite's supervisor."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._seen: set[psutil.Process] = {self._root}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self._thread.start()

    def service(self, name: str) -> psutil.Process:
        """One of the processes that the supervisor keeps."""
        found = [each for each in self._root.children() if name in words_of(each)]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def find(self, word: str) -> list[psutil.Process]:
        """Living processes, however deep, with this word in their command line."""
        return [each for each in self._root.children(recursive=True) if word in words_of(each)]

    def left(self) -> list[psutil.Process]:
        """Those that have not ended."""
        return [each for each in self._seen if not has_ended(each)]

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._closed.wait(0.1):
            try:
                self._seen.update(self._root.children(recursive=True))
            except psutil.NoSuchProcess:
                return
