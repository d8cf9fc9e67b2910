"""A device of the demo's own: a core that joins the suite while a study goes on, with a worker on it."""

from __future__ import annotations

import sys
from pathlib import Path

from hydro.client.client import Client
from hydro.client.demo.background import BackgroundProcess

_IDLE_SECONDS = "600"


def join(client: Client, name: str, core: int, folder: Path) -> BackgroundProcess:
    """Registers the core as the exclusive device `devices/NAME` and starts a worker on it."""
    device = client.register_device(f"devices/{name}", cpu_cores=[core])
    environment = {
        "HYDRO_COORDINATOR_ADDRESS": client.address,
        "HYDRO_WORKER_DEVICE": device.name,
        "HYDRO_WORKER_CORES": str(core),
        "HYDRO_WORKER_IDLE_SECONDS": _IDLE_SECONDS,
        "OMP_NUM_THREADS": "1",
    }
    return BackgroundProcess([sys.executable, "-m", "hydro.worker"], environment, folder / f"{name}.log")
