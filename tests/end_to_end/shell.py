"""The `hydro` command, as a user starts it."""

from __future__ import annotations

import subprocess
import sys

from hydro.client.suite.local import LocalSuite

_SECONDS = 200


def hydro(suite: LocalSuite, *words: str) -> str:
    """What the command prints, which must end well."""
    command = [sys.executable, "-c", "from hydro.client.command import main; main()", *words]
    command += ["--address", suite.coordinator_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
