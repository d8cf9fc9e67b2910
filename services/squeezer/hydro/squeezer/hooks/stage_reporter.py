"""Reports a stage to the squeezer: events through shared memory, registration and heartbeat through a thread."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from hydro.api.squeezer.v1 import pipeline_service_pb2, pipeline_service_pb2_grpc
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import HydroError
from hydro.squeezer.events import EventWriter
from hydro.squeezer.hooks.ring_events import RingEvents
from hydro.squeezer.pipeline import StageMemory

_log = structlog.get_logger()
_BEAT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class StageDescription:
    """What the squeezer must know of a stage."""

    pipeline_run: str
    stage: int
    stages: int
    microbatches: int
    schedule: str
    cpu_cores: tuple[int, ...] = ()


class StageReporter(RingEvents):
    """Events of one stage, for the squeezer at an address: a `StageListener`.

    The run never waits for the squeezer: events go to a bounded ring, and a squeezer that is not there, dies or comes
    back is met by the thread alone, which registers the stage again each time.

    Args:
        description: the stage.
        gate_directory: HYDRO_GATE_DIRECTORY, shared with the squeezer.
        squeezer_address: host:port.

    Raises:
        OSError: the event ring cannot be made in the gate directory.
    """

    def __init__(self, description: StageDescription, gate_directory: Path, squeezer_address: str) -> None:
        self._description = description
        self._address = squeezer_address
        name = f"{description.pipeline_run}-{description.stage}.{secrets.token_hex(4)}.events"
        super().__init__(EventWriter.create(gate_directory / name))
        self._memory = StageMemory()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._report, name="stage-reporter", daemon=True)
        self._thread.start()

    def take_memory(self, memory: StageMemory) -> None:
        """Keeps the memory for the next heartbeat."""
        self._memory = memory

    @property
    def gates_opened(self) -> int:
        """How often the gate was opened in this stage's bubbles, by the squeezer of now."""
        return self._ring.gates_opened

    @property
    def used_ns(self) -> int:
        """Nanoseconds that trials worked in this stage's bubbles, by the account of the squeezer of now."""
        return self._ring.used_ns

    def is_watched(self) -> bool:
        """A squeezer reads the events."""
        age_ns = self._ring.consumer_age_ns()
        return age_ns is not None and age_ns < 2 * _BEAT_SECONDS * 1e9

    def close(self) -> None:
        """Takes leave of the squeezer."""
        self._closed.set()
        self._thread.join(timeout=4 * _BEAT_SECONDS)
        self._ring.close()

    def _report(self) -> None:
        while not self._closed.is_set():
            try:
                self._report_until_lost()
            except HydroError as error:
                _log.info("squeezer not reached", address=self._address, error=error.message)
            self._closed.wait(_BEAT_SECONDS)

    def _report_until_lost(self) -> None:
        with open_sync_channel(self._address) as channel:
            pipeline_service_pb2_grpc.PipelineServiceStub(channel).ReportStages(self._messages())

    def _messages(self) -> Iterator[pipeline_service_pb2.ReportStagesRequest]:
        while True:
            yield pipeline_service_pb2.ReportStagesRequest(
                pipeline_run=self._description.pipeline_run,
                stage=self._description.stage,
                stages=self._description.stages,
                microbatches=self._description.microbatches,
                schedule=self._description.schedule,
                event_page=self._ring.path.name,
                reserved_bytes=self._memory.reserved_bytes,
                peak_reserved_bytes=self._memory.peak_reserved_bytes,
                cpu_cores=self._description.cpu_cores,
            )
            if self._closed.wait(_BEAT_SECONDS):
                return
