"""`python -m hydro.worker`: trains bundles on one device."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from hydro.kit.channel import open_sync_channel
from hydro.kit.logging import configure_logging
from hydro.kit.memory import keep_freed_memory
from hydro.worker.settings import WorkerSettings


def main() -> None:
    """Runs until there is no more work, or SIGTERM; then lanes are checkpointed and the lease is released."""
    keep_freed_memory()
    settings = WorkerSettings()
    configure_logging("worker", settings.log_level)
    stopping = threading.Event()

    def stop(signal_number: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run(settings, stopping)


def run(settings: WorkerSettings, stopping: threading.Event) -> None:
    """Works until idle or stopping."""
    # Here, so that on a slot even the import of torch gives way to the pipeline run.
    from hydro.worker.priority import idle_priority

    if settings.is_on_slot:
        idle_priority(lambda: __import__("hydro.worker.worker"))
    from hydro.worker.coordinator import Coordinator
    from hydro.worker.device import choose_mps, torch_device, use_cores
    from hydro.worker.worker import Worker

    use_cores(settings)
    choose_mps(settings, os.environ)
    with open_sync_channel(settings.coordinator_address) as channel:
        Worker(settings, Coordinator(channel), torch_device(settings), stopping).run()


if __name__ == "__main__":
    main()
