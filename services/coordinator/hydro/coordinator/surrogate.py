"""A surrogate: the small model that a study tunes, as far as the coordinator knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from hydro.coordinator.names import SurrogateName
from hydro.coordinator.search_space import identity
from hydro.coordinator.transition import transition
from hydro.coordinator.trial import Artifact, Hyperparameters


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

    `lane_hyperparameters` are those in which the lanes of a bundle may differ; any other changes the graph's structure.
    `width` is the one in effect: 1 when the model cannot be shrunk. `record` is the tuner's whole answer, which only
    the tuner's client reads: it goes back with every plan and transfer.
    """

    name: SurrogateName
    state: SurrogateState
    state_reason: str = ""
    width: float = 1.0
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    lane_hyperparameters: frozenset[str] = frozenset()
    artifact: Artifact | None = None
    record: bytes = b""

    def fits(self, hyperparameters: Hyperparameters, structure: Hyperparameters) -> bool:
        """Whether a trial with these hyperparameters may be a lane of a bundle of this structure."""
        own = {name: value for name, value in hyperparameters.items() if name not in self.lane_hyperparameters}
        return _identities(own) == _identities(structure)


def _identities(values: Hyperparameters) -> Mapping[str, object]:
    return {name: identity(value) for name, value in values.items()}
