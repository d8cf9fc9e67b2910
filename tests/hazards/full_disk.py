"""A disk that is full for one program, whoever runs the test: a small mount would take privileges."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class FullDisk:
    """Fills up and gets space again at a word.

    Args:
        folder: where the program can read.
    """

    def __init__(self, folder: Path) -> None:
        self._marker = folder / "disk_is_full"
        self._library = folder / "full_disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the program has to be started with."""
        return {"LD_PRELOAD": str(self._library), "HAZARD_FULL_DISK": str(self._marker)}

    def fill(self) -> None:
        """From now on no file of the program grows."""
        self._marker.touch()

    def make_space(self) -> None:
        """Files grow again."""
        self._marker.unlink()
