"""A suite of one's own, for all tests of this folder that drive studies by the SDK."""

import os
import tempfile
from pathlib import Path

import pytest

from backends.installing import install_toy
from hydro.client import Client

# Of a project that only tests of quotas have.
QUOTAS = '{"small": {"open_studies": 2, "trials_per_study": 10}}'


@pytest.fixture(scope="package")
def temporary():
    """Where the suite keeps its data: a folder to look into when it has stopped."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="package")
def python_path(tmp_path_factory):
    """Where the suite finds a search backend of another distribution, beside all else."""
    return install_toy(tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="package")
def client(temporary, python_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setitem(os.environ, "HYDRO_COORDINATOR_DEVICES", "")
        patch.setitem(os.environ, "PYTHONPATH", python_path)
        patch.setitem(os.environ, "HYDRO_COORDINATOR_QUOTAS", QUOTAS)
        connected = Client.local()
    yield connected
    connected.close()
    assert list(temporary.iterdir()) == []
