"""What an interrupted run has measured so far: the same command goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import sources


class Kept:
    """Parts of a run, each a JSON in the folder FILE.parts.

    A part is taken up again by the same sources alone: never where these differ from their commit.

    Args:
        report: FILE, which the whole run writes in the end.
        benchmark: whose folder of `benchmarks` counts among the sources.
    """

    def __init__(self, report: Path, benchmark: str) -> None:
        self._folder = report.with_name(f"{report.name}.parts")
        self._sources = sources(benchmark)

    def get(self, name: str, settings: Mapping[str, Any]) -> Any | None:
        """A part, if it was measured with these settings."""
        path = self._path(name)
        if self._sources is None or not path.exists():
            return None
        kept = json.loads(path.read_text())
        return kept["content"] if kept["settings"] == self._described(settings) else None

    def put(self, name: str, settings: Mapping[str, Any], content: Any) -> None:
        """Keeps a part, in place of an earlier one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = {"settings": self._described(settings), "content": content}
        self._path(name).write_text(json.dumps(kept, indent=1))

    def remove(self) -> None:
        """Forgets them: they are in the report."""
        for path in self._folder.glob("*.json"):
            path.unlink()
        if self._folder.exists():
            self._folder.rmdir()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.replace('/', '-').replace(' ', '-')}.json"

    def _described(self, settings: Mapping[str, Any]) -> Any:
        return json.loads(json.dumps({**settings, "sources": self._sources}))
