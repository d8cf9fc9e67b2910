"""The port to the tuner: makes surrogates, plans bundles, transfers hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hydro.coordinator.bundle import MemoryMiss, PlannedBundle
from hydro.coordinator.device import Device
from hydro.coordinator.names import DeviceName, SurrogateName
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Study, StudySpec
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import Hyperparameters, Trial


class Tuner(Protocol):
    """Every method raises Unavailable when the tuner does not answer: trying again is safe."""

    async def create_surrogate(
        self, name: SurrogateName, spec: StudySpec, artifact_uri: str, threads: int = 0
    ) -> Surrogate:
        """Starts to make the surrogate, for devices with so many threads, or gives the one of that name as it stands.

        Raises:
            InvalidArgument: what is wrong with the task or its width.
        """
        ...

    async def until_built(self, name: SurrogateName) -> None:
        """Returns once the surrogate is built, or never will be, or the tuner does not know it any more."""
        ...

    async def plan_bundles(
        self,
        surrogate: Surrogate,
        study: Study,
        trials: Sequence[Trial],
        devices: Sequence[Device],
        misses: Mapping[DeviceName, Sequence[MemoryMiss]],
    ) -> Sequence[PlannedBundle]:
        """Puts each trial into one bundle, for these idle devices and with what the study's bundles met there; pure."""
        ...

    async def transfer(
        self, surrogate: Surrogate, space: SearchSpace, hyperparameters: Hyperparameters, batch_ratio: float = 1.0
    ) -> Hyperparameters:
        """What becomes of the surrogate's hyperparameters on the target; those left out stay at the task's defaults.

        `batch_ratio` is the samples of a step of the target over the surrogate's.

        Raises:
            InvalidArgument: no such ratio can be.
        """
        ...
