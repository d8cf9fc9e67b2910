"""The child process that builds one surrogate: `python -m hydro.tuner.build PARENT`.

Reads a request from standard input and writes the result to standard output, as a line; before it, where a bundle is
compiled, one that holds should that not end. Whatever the task prints goes to standard error. It dies with the process
PARENT, which started it.
"""

from __future__ import annotations

import os
import sys
import threading

from hydro.kit.memory import keep_freed_memory
from hydro.kit.parent import die_with_parent
from hydro.tuner.building.request import BuildRequest, BuildResult


def main() -> None:
    """Builds the surrogate that standard input asks for."""
    die_with_parent(int(sys.argv[1]))
    # As in a worker, so that its steps take what the profile says.
    keep_freed_memory()
    results = os.dup(1)
    os.dup2(2, 1)

    # Late, so that the process is bound to its parent before the seconds that torch takes; and before it waits for its
    # request, so that one that was started ahead has them behind it.
    from hydro.tuner.building.surrogate_build import build

    text = sys.stdin.read()
    if not text:
        # It was started ahead and is not needed any more.
        return
    request = BuildRequest.from_json(text)

    with os.fdopen(results, "w") as stream:

        def tell(result: BuildResult, seconds: float) -> None:
            stream.write(result.to_json() + "\n")
            stream.flush()
            _end_after(seconds)

        result = build(request, tell)
        stream.write(result.to_json() + "\n")


def _end_after(seconds: float) -> None:
    """Ends the process so much later, whatever it does then: nothing else ends a compiler."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
