"""The target: the user's model at full width, trained with transferred hyperparameters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hydro.client.snapshots import TrialState
from hydro.client.spaces import Scalar
from hydro.client.surrogates import Transfer
from hydro.client.trials import Trial
from hydro.kit.artifacts import read_artifact
from hydro.kit.errors import DeadlineExceeded, FailedPrecondition, Unavailable

if TYPE_CHECKING:
    import torch

_POLL_SECONDS = 0.3
_MODEL_PREFIX = "model/"


class Target:
    """A training of the target. Its results wait for its end."""

    def __init__(self, trial: Trial, transfers: tuple[Transfer, ...] = ()) -> None:
        self._trial = trial
        self._transfers = transfers

    def __repr__(self) -> str:
        return f"<Target {self._trial!r}>"

    @property
    def trial(self) -> Trial:
        """The trial of kind TARGET behind it."""
        return self._trial

    @property
    def hyperparameters(self) -> Mapping[str, Scalar]:
        """What it is trained with, after transfer."""
        return self._trial.hyperparameters

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """What became of each hyperparameter of the search space, and why; empty with defaults, which none came to."""
        return self._transfers

    @property
    def metrics(self) -> Mapping[str, float]:
        """All metrics at the end of training."""
        measurements = self.wait().measurements
        return measurements[-1].metrics if measurements else {}

    @property
    def value(self) -> float:
        """The objective at the end of training."""
        value = self.wait().value
        if value is None:
            raise FailedPrecondition(f"{self._trial.name} succeeded without a measurement: read its log")
        return value

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The trained parameters and buffers, for `model.load_state_dict`. Needs torch and safetensors here."""
        from safetensors.torch import load

        checkpoint = self.wait().snapshot.checkpoint
        if checkpoint is None:
            raise FailedPrecondition(f"{self._trial.name} has no checkpoint: read its log")
        tensors = load(read_artifact(checkpoint.uri, checkpoint.digest))
        return {
            name.removeprefix(_MODEL_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(_MODEL_PREFIX)
        }

    def wait(self, timeout_seconds: float | None = None) -> Trial:
        """Waits for the end of training.

        Raises:
            DeadlineExceeded: it takes longer than the timeout.
            FailedPrecondition: the training failed or was cancelled; the message says why.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self._trial.state.has_ended:
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded(f"{self._trial.name} is still {self._trial.state.name}: wait longer")
            time.sleep(_POLL_SECONDS)
            self._refresh()
        if self._trial.state is not TrialState.SUCCEEDED:
            raise FailedPrecondition(f"{self._trial.name} {self._trial.state.name}: {self._trial.state_reason}")
        return self._trial

    def _refresh(self) -> None:
        try:
            self._trial.refresh()
        except Unavailable:
            # The coordinator restarts; the trial goes on.
            return
