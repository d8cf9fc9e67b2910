"""A surrogate: the small model that a study tunes, as far as the coordinator knows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hydro.coordinator.names import SurrogateName
from hydro.coordinator.transition import transition
from hydro.coordinator.trial import Artifact


class SurrogateState(Enum):
    """BUILDING > READY | FAILED."""

    BUILDING = "BUILDING"
    READY = "READY"
    FAILED = "FAILED"


FINISH_SURROGATE = transition("finish", [SurrogateState.BUILDING], SurrogateState.READY)
FAIL_SURROGATE = transition("fail", [SurrogateState.BUILDING], SurrogateState.FAILED)

TRANSITIONS = (FINISH_SURROGATE, FAIL_SURROGATE)


@dataclass(frozen=True, slots=True)
class Surrogate:
    """What the tuner said of it.

    `width` is the one in effect: 1 when the model cannot be shrunk. `record` is the tuner's whole answer, which only
    the tuner's client reads: it goes back with every plan and transfer.
    """

    name: SurrogateName
    state: SurrogateState
    state_reason: str = ""
    width: float = 1.0
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    artifact: Artifact | None = None
    record: bytes = b""
