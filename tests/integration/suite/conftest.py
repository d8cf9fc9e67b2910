"""A suite of one's own, for all tests of this folder that drive studies by the SDK."""

import os
import tempfile
from pathlib import Path

import pytest

from hydro.client import Client


@pytest.fixture(scope="package")
def temporary():
    """Where the suite keeps its data: a folder to look into when it has stopped."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="package")
def client(temporary):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setitem(os.environ, "HYDRO_COORDINATOR_DEVICES", "")
        connected = Client.local()
    yield connected
    connected.close()
    assert list(temporary.iterdir()) == []
