"""Installs the toy search backend as users install theirs: by pip, from a distribution of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOY = Path(__file__).with_name("toy")


def install_toy(folder: Path) -> str:
    """Builds and installs it into the folder, without a network; gives the PYTHONPATH that finds it there."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(folder), str(TOY)], check=True, capture_output=True, text=True)
    return os.pathsep.join([str(folder), *sys.path])
