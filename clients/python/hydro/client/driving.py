"""Driven trials over DriveTrials: one stream for each thread that drives, opened when it is first needed.

A stream answers in the order of its requests, and a thread waits for each answer: what is not answered when a stream
breaks is the one request of that thread. It is sent again as it was on the next stream, which is safe: a suggestion
carries its request id, a measurement its step, and an end that was stored is answered as it stands.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from hydro.api.coordinator.v1 import study_service_pb2
from hydro.kit.errors import Cancelled, ResourceExhausted, Unavailable

Request = study_service_pb2.DriveTrialsRequest
Response = study_service_pb2.DriveTrialsResponse
Open = Callable[[Iterator[Request]], Iterator[Response]]

RETRY_SECONDS = 60.0
"""For so long a request is sent again while nobody answers: the services may be restarting."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_log = structlog.get_logger()


class TrialStream:
    """One stream, of one thread."""

    def __init__(self, open_stream: Open) -> None:
        self._open_stream = open_stream
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._answers: Any = None

    def exchange(self, request: Request) -> Response:
        """Sends a request and gives its answer. What interrupts it ends the stream: an answer must not be another's.

        Raises:
            Unavailable: the stream broke; nobody knows whether the request has arrived.
            HydroError: as the service says.
        """
        try:
            if self._answers is None:
                self._requests = queue.SimpleQueue()
                self._answers = self._open_stream(iter(self._requests.get, None))
            self._requests.put(request)
            answer = next(self._answers, None)
        except BaseException:
            self.close()
            raise
        if answer is None:
            self.close()
            raise Unavailable("the coordinator ended the stream of driven trials")
        return Response.FromString(answer) if isinstance(answer, bytes) else answer

    def close(self) -> None:
        """Ends the stream; the next request opens another."""
        answers, self._answers = self._answers, None
        self._requests.put(None)
        if answers is not None:
            answers.cancel()


class TrialStreams:
    """The streams of all threads. `open_stream` is the stub's DriveTrials."""

    def __init__(
        self,
        open_stream: Open,
        retry_seconds: float = RETRY_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_stream = open_stream
        self._retry_seconds = retry_seconds
        self._sleep = sleep
        self._streams: dict[int, TrialStream] = {}
        self._lock = threading.Lock()

    def exchange(self, request: Request) -> Response:
        """Sends a request on this thread's stream until it is answered.

        Raises:
            Unavailable: for a minute nobody has answered.
            HydroError: as the service says.
        """
        end, pause = time.monotonic() + self._retry_seconds, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._stream().exchange(request)
            except (Unavailable, Cancelled, ResourceExhausted) as error:
                if time.monotonic() + pause > end:
                    raise
                _log.debug("driven trials are sent again", error=str(error))
                self._sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def leave(self) -> None:
        """Ends this thread's stream, for a thread that ends itself."""
        with self._lock:
            stream = self._streams.pop(threading.get_ident(), None)
        if stream is not None:
            stream.close()

    def close(self) -> None:
        """Ends all streams."""
        with self._lock:
            streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.close()

    def _stream(self) -> TrialStream:
        with self._lock:
            return self._streams.setdefault(threading.get_ident(), TrialStream(self._open_stream))
