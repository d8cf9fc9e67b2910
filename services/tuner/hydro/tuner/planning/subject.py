"""A bundle under measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from hydro.tuner.planning.profile import ProfilePoint
from hydro.tuner.planning.recording_gate import RecordingGate
from hydro.tuner.planning.turns import Patience, seconds_in_turns
from hydro.tuner.task import Hyperparameters
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.lane import LaneFailure, LaneSpec
from hydro.tuner.training.peak_memory import peak_bytes, reset_peak
from hydro.tuner.training.trainer import BundleTrainer

PARTS_PATIENCE = Patience(seconds=0.02, min_rounds=1, max_rounds=30)
"""Of what runs undivided on a slot."""


class ProfileFailed(RuntimeError):
    """A lane ended while its bundle was measured: `failure` says how."""

    def __init__(self, failure: LaneFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Subject:
    """A trainer under measurement, all of whose lanes have the same hyperparameters.

    Each method raises ProfileFailed where a lane ends.
    """

    trainer: BundleTrainer
    gate: RecordingGate
    hyperparameters: Hyperparameters
    device: torch.device

    @property
    def lanes(self) -> int:
        """How many it has."""
        return len(self.trainer.lanes)

    def grow(self, lanes: int) -> None:
        """Inserts copies of the first lane: at its step, so that all of them share each batch."""
        first = self.trainer.lanes[0]
        state = self.trainer.checkpoint(first.trial)
        self._insert(range(self.lanes, lanes), state, first.step)

    def twin(self, lanes: int) -> Subject:
        """Gives a fused bundle of so many lanes of its own, by the same programs."""
        assert isinstance(self.trainer, FusedTrainer)
        twin = replace(self, trainer=self.trainer.twin())
        twin._insert(range(lanes))
        return twin

    def point(self, patience: Patience, beside: Companion | None = None) -> ProfilePoint:
        """Measures a step, in proportion to that of another bundle if one takes turns with it, and the memory."""
        reset_peak(self.device)
        self.trainer.train_step()
        self._validate()
        works = [self.trainer.train_step, *([beside.subject.trainer.train_step] if beside else [])]
        seconds, *others = seconds_in_turns(works, self.gate.clock, patience)
        self._validate()
        self.raise_failures()
        drift = beside.drift(others[0]) if beside else 1.0
        return ProfilePoint(self.lanes, seconds * drift, peak_bytes(self.device))

    def segment_seconds(self) -> float:
        """Measures what has to fit into a bubble, in rounds of their own: each part is waited for at its end."""

        def one_round() -> None:
            self.trainer.train_step()
            self._validate()

        with self.gate.recording():
            # The forms that can pause are made in it.
            one_round()
        with self.gate.recording():
            seconds_in_turns([one_round], self.gate.clock, PARTS_PATIENCE)
        self.raise_failures()
        return self.gate.longest_part_seconds()

    def raise_failures(self) -> None:
        """Raises ProfileFailed where a lane has ended."""
        for failure in self.trainer.take_failures():
            raise ProfileFailed(failure)

    def _insert(self, numbers: range, state: bytes | None = None, start_step: int = 0) -> None:
        self.trainer.insert(
            [LaneSpec(str(i), self.hyperparameters, seed=i, state=state, start_step=start_step) for i in numbers]
        )
        self.raise_failures()

    def _validate(self) -> None:
        self.trainer.validate([lane.trial for lane in self.trainer.lanes])


@dataclass(frozen=True, slots=True)
class Companion:
    """A bundle that takes turns with others, and the seconds of its step when it was measured by itself."""

    subject: Subject
    alone_seconds: float

    def drift(self, seconds: float) -> float:
        """Gives the factor to what was measured beside it: the machine may be slower now than it was then."""
        return self.alone_seconds / seconds if self.alone_seconds else 1.0
