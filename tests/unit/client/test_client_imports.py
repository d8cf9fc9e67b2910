"""The SDK is light."""

import subprocess
import sys

import pytest

import hydro.client


@pytest.mark.parametrize("module", ["hydro.client", "hydro.client.command.main"])
def test_importing_loads_no_heavy_package(module):
    program = f"import sys, {module}; print([m for m in ('torch', 'pandas', 'optuna', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_every_promised_name_is_there():
    assert all(hasattr(hydro.client, name) for name in hydro.client.__all__)
    assert sorted(hydro.client.__all__) == hydro.client.__all__
