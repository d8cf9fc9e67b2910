"""How the hook gets into a run whose script does not call it: a folder on PYTHONPATH with a `sitecustomize`.

Python imports that module at its start, in torchrun's children as in any other process; it waits for an engine's module
to be imported and lets the first step of each engine attach the hook. Nothing is imported that the run does not import.
"""

from __future__ import annotations

import os
from pathlib import Path


def python_path(earlier: str | None) -> str:
    """Gives a PYTHONPATH with this folder in front."""
    return os.pathsep.join([str(Path(__file__).parent), *([earlier] if earlier else [])])
