"""The tuner's service runs no tensor itself, so it starts without what torch takes in time and memory."""

import subprocess
import sys


def test_the_service_and_what_its_builds_are_asked_by_start_without_torch():
    modules = "hydro.tuner.__main__, hydro.tuner.building.request, hydro.tuner.planning.plan"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
