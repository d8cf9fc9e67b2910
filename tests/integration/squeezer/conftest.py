"""A squeezer, a replayed pipeline run and workers as processes of their own, in one temporary gate directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from hydro.api.squeezer.v1 import squeezer_service_pb2 as messages
from hydro.api.squeezer.v1 import squeezer_service_pb2_grpc as services
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import HydroError
from hydro.squeezer.gate import MAGIC, WORD_COUNT, ControllerGate
from hydro.squeezer.shared_page import SharedPage

WORKER = Path(__file__).with_name("bubble_worker.py")
PATIENCE_SECONDS = 60.0
Process = subprocess.Popen[bytes]


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Waits for something that the processes will do."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.01)


class BubbleSuite:
    """The processes, and what a coordinator would call."""

    def __init__(self, folder: Path) -> None:
        self.gate_directory = folder / "gates"
        self.steps_path = folder / "steps.jsonl"
        self.stamps_path = folder / "stamps"
        self.core = max(os.sched_getaffinity(0))
        self._folder = folder
        self._processes: list[Process] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.channel: grpc.Channel = open_sync_channel(self.address)
        self.service = services.SqueezerServiceStub(self.channel)

    def start_squeezer(self) -> Process:
        environment = os.environ | {
            "HYDRO_GATE_DIRECTORY": str(self.gate_directory),
            "HYDRO_SQUEEZER_LISTEN_ADDRESS": self.address,
            "HYDRO_SQUEEZER_DEVICE": "devices/local-cpu-1",
            "HYDRO_SQUEEZER_GPU": "simulated",
            "HYDRO_SQUEEZER_OVERDUE_SECONDS": "0.5",
            "HYDRO_SQUEEZER_KILL_SECONDS": "0.5",
        }
        return self._start([sys.executable, "-m", "hydro.squeezer"], environment, "squeezer")

    def start_replay(self) -> Process:
        options: dict[str, object] = {
            "--layers": 64,
            "--core": self.core,
            "--squeezer-address": self.address,
            "--gate-directory": self.gate_directory,
            "--output": self.steps_path,
        }
        words = [str(word) for pair in options.items() for word in pair]
        command = [sys.executable, "-m", "hydro.squeezer.hooks.replay", "--until-stopped", *words]
        return self._start(command, dict(os.environ), "replay")

    def start_worker(self, gate: str, *mode: str) -> Process:
        path = self.gate_directory / gate
        command = [sys.executable, str(WORKER), str(path), str(self.stamps_path), str(self.core), *mode]
        return self._start(command, dict(os.environ), "worker")

    def slot(self) -> messages.Slot:
        """Waits until there is a slot."""
        found: list[messages.Slot] = []

        def is_there() -> bool:
            found[:] = self.slots()
            return bool(found)

        wait_until(is_there, "a slot appears")
        return found[0]

    def slots(self) -> list[messages.Slot]:
        """Gives the slots there are; none while there is no squeezer."""
        call = self.service.WatchSlots(messages.WatchSlotsRequest())
        try:
            return list(next(call).slots)
        except HydroError:
            return []
        finally:
            call.cancel()

    def claim(self, slot: str, fencing_token: int) -> str:
        request = messages.ClaimSlotRequest(name=slot, lease=f"leases/{fencing_token}", fencing_token=fencing_token)
        return str(self.service.ClaimSlot(request).gate)

    def controller_gate(self, gate: str) -> ControllerGate:
        """The page as its controller sees it; only to look."""
        return ControllerGate(SharedPage.attach(self.gate_directory / gate, magic=MAGIC, word_count=WORD_COUNT))

    def steps(self) -> list[dict[str, Any]]:
        lines = self.steps_path.read_text().splitlines() if self.steps_path.exists() else []
        return [json.loads(line) for line in lines]

    def stamps(self) -> list[tuple[int, int, int]]:
        """Start, deadline and end of each segment that has ended."""
        lines = self.stamps_path.read_text().splitlines() if self.stamps_path.exists() else []
        return [tuple(int(word) for word in line.split()) for line in lines]  # type: ignore[misc]

    def wait_for_steps(self, count: int) -> None:
        """Waits until the pipeline run has made so many more steps."""
        before = len(self.steps())
        wait_until(lambda: len(self.steps()) >= before + count, f"the pipeline run makes {count} more steps")

    def wait_for_segments(self, count: int) -> None:
        before = len(self.stamps())
        wait_until(lambda: len(self.stamps()) >= before + count, f"the worker runs {count} more segments")

    def close(self) -> None:
        self.channel.close()
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

    def _start(self, command: list[str], environment: dict[str, str], name: str) -> Process:
        log_path = self._folder / f"{name}-{len(self._processes)}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._processes.append(process)
        return process


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[BubbleSuite]:
    made = BubbleSuite(tmp_path)
    yield made
    made.close()
