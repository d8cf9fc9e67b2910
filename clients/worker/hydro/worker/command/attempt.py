"""One lease of a command: its programs, from their start to their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from hydro.client.commands import Command
from hydro.kit.errors import Unavailable
from hydro.worker.command.bubble_mover import BubbleMover
from hydro.worker.command.place import TrialPlace, trial_place
from hydro.worker.command.run import TrialRun
from hydro.worker.command.trial_server import TrialServer
from hydro.worker.recipe import Grant, Lane
from hydro.worker.round import Keeper, LaneNews, Reports, Verdict

_LOOK_SECONDS = 0.1
_LOCK_SECONDS = 120.0


class CommandAttempt:
    """Runs the programs of a lease, as many side by side as its bundle has lanes, on a slot one after the other.

    When it returns, or raises, nothing of them is left.
    """

    def __init__(
        self,
        grant: Grant,
        command: Command,
        keeper: Keeper,
        reporter: Reports,
        is_stopping: Callable[[], bool],
        inherited: Mapping[str, str],
        mover: BubbleMover | None = None,
    ) -> None:
        self._grant = grant
        self._command = command
        self._keeper = keeper
        self._reporter = reporter
        self._is_stopping = is_stopping
        self._inherited = inherited
        self._mover = mover
        self._most = grant.recipe.max_lanes if mover is None else 1
        self._lanes = list(grant.recipe.lanes)
        """Those that have not started yet."""
        self._runs: list[TrialRun] = []
        self._new = threading.Event()
        self._may_wait_until = 0.0

    def run(self) -> None:
        """Runs until no lanes are left, or the coordinator or this process wants to stop.

        Raises:
            LeaseLost: Everything that was not acknowledged is void.
            Unavailable: An attempt before at one of the trials does not end.
            GateLost: The slot has gone; the programs go on from what they have saved.
        """
        with TrialServer(self._grant.recipe.objective, self._grant.recipe.max_lanes) as server:
            try:
                while self._lanes or self._runs:
                    self._ensure()
                    if self._keeper.release_requested or self._is_stopping():
                        self._stop_all()
                        return
                    self._start(server)
                    self._turn()
                    self._new.wait(_LOOK_SECONDS)
                    self._new.clear()
            finally:
                for run in self._runs:
                    run.close()

    def _ensure(self) -> None:
        self._keeper.ensure()
        if self._mover is not None:
            self._mover.check()

    def _start(self, server: TrialServer) -> None:
        """Starts what there is room for. A trial whose attempt before has not ended waits."""
        room = self._most - len(self._runs)
        for lane in self._lanes[: max(0, room)]:
            place = trial_place(self._grant, lane)
            place.make()
            lock = place.lock()
            if lock is None:
                self._wait_for(place)
                continue
            self._lanes.remove(lane)
            self._may_wait_until = 0.0
            self._run(server, lane, place, lock)

    def _run(self, server: TrialServer, lane: Lane, place: TrialPlace, lock: int) -> None:
        recipe = self._grant.recipe
        try:
            run = TrialRun(
                self._command, recipe, lane, place, lock, server, self._inherited, self._new.set, self._mover
            )
        except OSError as error:
            self._tell([LaneNews(lane.trial, lane.start_step, failure=f"its program cannot be started: {error}")])
            return
        self._runs.append(run)

    def _wait_for(self, place: TrialPlace) -> None:
        now = time.monotonic()
        self._may_wait_until = self._may_wait_until or now + _LOCK_SECONDS
        if now > self._may_wait_until:
            raise Unavailable(f"{place.lock_path} is held: an attempt before has not ended for {_LOCK_SECONDS:.0f} s")

    def _turn(self) -> bool:
        """Tells what is new, and does what the answer says. Gives whether there was anything."""
        news = [each for run in self._runs if (each := run.news()) is not None]
        if news:
            self._tell(news)
        for run in [each for each in self._runs if each.is_over and each.has_ended]:
            self._runs.remove(run)
            run.close()
        return bool(news)

    def _tell(self, news: Sequence[LaneNews]) -> None:
        told = {each.trial for each in news}
        open_runs = [run for run in self._runs if not run.is_over]
        free = max(0, self._most - len(open_runs) - len(self._lanes))
        answer = self._reporter.report(news, free, len(open_runs))
        for run in open_runs:
            if run.trial in told:
                run.answered(answer.verdicts.get(run.trial, Verdict.CONTINUE))
        self._lanes += answer.insertions
        # More may have come meanwhile.
        self._new.set()

    def _stop_all(self) -> None:
        """Asks all programs to end, takes in what they measure within their grace, and tells the rest of their logs."""
        self._turn()
        for run in self._runs:
            run.stop()
        has_ended = False
        while self._turn() or not has_ended:
            self._ensure()
            # What was measured before an end is told after it.
            has_ended = all(run.has_ended for run in self._runs)
            if not has_ended:
                self._new.wait(_LOOK_SECONDS)
                self._new.clear()
        rest = [each for run in self._runs if not run.is_over and (each := run.rest_of_log()) is not None]
        if rest:
            self._reporter.report(rest, 0, 0)
