"""A surrogate as the service knows it, and its states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from hydro.tuner.building.request import BuildRequest, BuildResult


class SurrogateState(Enum):
    """BUILDING > READY | FAILED."""

    BUILDING = "BUILDING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Surrogate:
    """A small model whose best hyperparameters are the target's."""

    name: str
    """projects/*/surrogates/*"""
    request: BuildRequest
    create_time: datetime
    state: SurrogateState = SurrogateState.BUILDING
    result: BuildResult = BuildResult()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state is not SurrogateState.BUILDING

    def built(self, result: BuildResult) -> Surrogate:
        """Gives the surrogate after its build.

        Raises:
            ValueError: it was built before.
        """
        if self.has_ended:
            raise ValueError(f"{self.name} is {self.state.value}: only a surrogate that is BUILDING gets a result")
        state = SurrogateState.FAILED if result.failure else SurrogateState.READY
        return replace(self, state=state, result=result)
