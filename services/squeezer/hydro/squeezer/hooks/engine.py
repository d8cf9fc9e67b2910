"""What an adapter of a pipeline engine is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from hydro.squeezer.hooks.events import StageEvents


@dataclass(frozen=True, slots=True)
class PipelinePlace:
    """Which part of a pipeline run this process is."""

    stage: int
    """Among the ranks of the pipeline; one that holds several chunks of the model is one stage here."""
    stages: int
    microbatches: int
    schedule: str
    replica: int = 0
    """The lowest global rank of this pipeline: tells it from its data-parallel copies."""
    chunks: int = 1
    """Parts of the model that this rank holds."""


class Engine(Protocol):
    """A pipeline engine of some library, as the hook sees it.

    Laws: what the engine computes is the same with and without a shadow; `shadow` changes this engine alone, and
    the function that it gives puts everything back.

    Megatron-Core has its seam in public: `forward_backward_pipelining_*` takes a `p2p_communicator`. An adapter is a
    P2PCommunicator whose `recv_forward`, `recv_backward` and `send_*_recv_*` run as Activity.WAIT of a StepProbe, and
    whose `shadow` gives that communicator to the training loop. There is none here: it could not be tested.
    """

    @property
    def place(self) -> PipelinePlace:
        """Where this process is in the run."""

    @property
    def device(self) -> torch.device:
        """Where the stage computes."""

    def shadow(self, events: StageEvents) -> Callable[[], None]:
        """Tells of each step from now on, until the function that it gives is called."""
