"""One trial's program, from its start to its end, and what there is to say of it."""

from __future__ import annotations

import json
import math
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from hydro.client.commands import Command
from hydro.kit.line_metrics import TooSlow
from hydro.worker.command.bubble_mover import BubbleMover
from hydro.worker.command.guard import NOT_FOUND
from hydro.worker.command.launch import Surroundings, launch, trial_document
from hydro.worker.command.place import TrialPlace, free_port
from hydro.worker.command.program import Program
from hydro.worker.command.sources import sources_of
from hydro.worker.command.trial_server import Said, TrialServer, lease_lost
from hydro.worker.recipe import Lane, Recipe
from hydro.worker.round import LaneNews, Verdict

LOG_SECONDS = 2.0
"""Between two messages that carry nothing but lines of the log."""
_LOG_CHARACTERS = 64 * 1024
_TAIL_LINES = 20
_MOST_WAITING = 1000


class TrialRun:
    """Runs the program of one trial.

    What is measured is told one measurement at a time, each when the one before is answered: `news` gives it, and
    `answered` takes the verdict.

    Args:
        command: The program.
        recipe: Of the bundle.
        lane: The trial.
        place: Its directories.
        lock: A descriptor that holds them.
        server: Takes what the program says.
        inherited: The worker's own environment.
        wake: Called, on another thread, when there is something new.
        mover: Has the program run in the bubbles of a slot; None: it runs all the time.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        command: Command,
        recipe: Recipe,
        lane: Lane,
        place: TrialPlace,
        lock: int,
        server: TrialServer,
        inherited: Mapping[str, str],
        wake: Callable[[], None],
        mover: BubbleMover | None = None,
    ) -> None:
        self.trial = lane.trial
        self.is_over = False
        """The coordinator has said that it ends, or was told so: there is no more news."""
        self._command = command
        self._objective = recipe.objective
        self._steps = lane.start_step
        self._server = server
        self._wake = wake
        self._inbox: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._waiting: deque[Said] = deque()
        self._told: Said | None = None
        self._is_last_told = False
        self._is_stopping = False
        self._is_measured = False
        self._fault = ""
        self._log = ""
        self._logged_at = self._started_at = time.monotonic()
        try:
            (place.directory / "trial.json").write_text(json.dumps(trial_document(recipe, lane)))
            self._log_file = (place.directory / "log.txt").open("a", encoding="utf-8")
        except OSError:
            os.close(lock)
            raise
        if not place.is_shared:
            self._write(["HYDRO_CHECKPOINT_DIRECTORY is on this machine alone: elsewhere the trial begins anew"])
        self._token = server.admit(self._hear)
        around = Surroundings(place, server.address, self._token, server.folder, free_port())
        started = launch(command, recipe, lane, around, inherited)
        self._program = Program(started, lock, wake, is_held=mover is not None)
        if mover is not None:
            mover.follow(self._program, wake)
        self._sources = sources_of(command, recipe.objective, place.directory, around.metrics_port, wake)

    @property
    def has_ended(self) -> bool:
        """Whether nothing of the program is left."""
        return self._program.has_ended

    def news(self) -> LaneNews | None:
        """Gives what there is to tell the coordinator now; also ends the program when its time is over."""
        ended = self._program.has_ended
        self._look(is_last=ended)
        self._program.look_after()
        if self.is_over:
            self._refuse()
            return None
        if self._waiting:
            self._told = self._waiting.popleft()
            return self._spoken(self._told)
        if self._is_stopping:
            # How it ends says nothing: it goes on elsewhere.
            return None
        if self._fault:
            return self._failure(self._fault)
        if ended:
            return self._last_news()
        if 0 < self._command.timeout_seconds < time.monotonic() - self._started_at:
            return self._failure(f"it took longer than timeout_seconds, {self._command.timeout_seconds:g}")
        if self._log and time.monotonic() - self._logged_at >= LOG_SECONDS:
            return self._of_log()
        return None

    def answered(self, verdict: Verdict) -> None:
        """Takes the verdict on the news; that of a log alone is CONTINUE."""
        told, self._told = self._told, None
        is_over = verdict is not Verdict.CONTINUE or self._is_last_told
        if told is not None and told.answer is not None:
            told.answer.set_result(not is_over and not self._is_stopping)
        if is_over:
            self._end(was_told=told is not None and told.answer is not None)

    def stop(self) -> None:
        """The lease is given back: the program is asked to end; what it measures within its grace counts."""
        self._is_stopping = True
        self._program.stop(self._command.stop_grace_seconds)

    def rest_of_log(self) -> LaneNews | None:
        """Gives the lines that were not told yet."""
        self._look(is_last=self._program.has_ended)
        return self._of_log() if self._log else None

    def close(self) -> None:
        """Kills what is left, and returns when nothing is."""
        self.is_over = True
        self._server.revoke(self._token)
        self._program.wait()
        self._write(self._program.take_lines())
        if self._told is not None and self._told.answer is not None:
            self._told.answer.set_exception(lease_lost())
        self._refuse()
        for source in self._sources:
            source.close()
        self._log_file.close()

    def _hear(self, said: Said) -> None:
        self._inbox.put(said)
        self._wake()

    def _look(self, *, is_last: bool) -> None:
        """Takes in what is new: first what the program said itself."""
        while not self._inbox.empty():
            self._waiting.append(self._inbox.get())
        if len(self._waiting) > _MOST_WAITING:
            # The program waits, when its pipe is full.
            return
        lines = self._program.take_lines()
        self._write(lines)
        try:
            for source in self._sources if not self._fault else ():
                for found in source.look(lines, is_last=is_last):
                    self._waiting.append(Said(found.step, found.metrics))
        except TooSlow as error:
            self._fault = str(error)

    def _write(self, lines: list[str]) -> None:
        if lines:
            text = "\n".join([*lines, ""])
            self._log_file.write(text)
            self._log_file.flush()
            self._log = (self._log + text)[-_LOG_CHARACTERS:]

    def _of_log(self) -> LaneNews:
        self._logged_at = time.monotonic()
        text, self._log = self._log, ""
        return LaneNews(self.trial, self._steps, log=text)

    def _spoken(self, said: Said) -> LaneNews:
        log = self._of_log().log
        if said.metrics is None:
            self._is_last_told = True
            if said.value is None and not self._is_measured:
                return self._unmeasured("it called finish without a value")
            return LaneNews(self.trial, self._steps, log=log, finished=True, value=said.value)
        wrong = [f"{name} is {value}" for name, value in said.metrics.items() if not math.isfinite(value)]
        if wrong:
            self._log = log
            return self._failure(f"{', '.join(wrong)} at step {said.step}")
        self._is_measured = True
        self._steps = max(self._steps, said.step)
        return LaneNews(self.trial, said.step, said.metrics, log=log)

    def _last_news(self) -> LaneNews:
        """The program has ended by itself, and everything that it measured is told."""
        code = self._program.exit_code
        if code:
            return self._failure(self._exit_reason(code))
        if not self._is_measured:
            return self._unmeasured("it ended well")
        self._is_last_told = True
        return LaneNews(self.trial, self._steps, log=self._of_log().log, finished=True)

    def _failure(self, reason: str) -> LaneNews:
        self._is_last_told = True
        return LaneNews(self.trial, self._steps, log=self._of_log().log, failure=reason)

    def _exit_reason(self, code: int) -> str:
        tail = "\n".join(self._program.error_tail.splitlines()[-_TAIL_LINES:])
        how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
        advice = " (no such program)" if code == NOT_FOUND else ""
        return f"it ended with {how}{advice}" + (f"; the end of its standard error:\n{tail}" if tail else "")

    def _unmeasured(self, how: str) -> LaneNews:
        """Its end, which is a failure unless a run before has measured."""
        sought = ["hydro.client.trial reported nothing", *(source.sought for source in self._sources)]
        reason = f"{how}, and its objective {self._objective!r} was never measured: {'; '.join(sought)}"
        return replace(self._failure(reason), finished=True)

    def _end(self, *, was_told: bool) -> None:
        """Ends the program: one that was told by its own report may first save what it wants to keep."""
        self.is_over = True
        end = self._program.give_time if was_told else self._program.stop
        end(self._command.stop_grace_seconds)
        self._refuse()

    def _refuse(self) -> None:
        """What is said after the end counts no more."""
        while not self._inbox.empty():
            self._waiting.append(self._inbox.get())
        while self._waiting:
            answer = self._waiting.popleft().answer
            if answer is not None:
                answer.set_result(False)
