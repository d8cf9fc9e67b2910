"""The adapter for DeepSpeed's PipelineEngine: 1F1B, and DualPipeV.

The engine looks each instruction up in `self._INSTRUCTION_MAP`, a map of its class; a map of wrapped functions on the
instance shadows it, and nothing of DeepSpeed is patched. The bubbles are in the receives, in DualPipeV's CommitP2P, and
in the collectives of gradients, norms and losses: the last stage's longest one is the norm in the optimizer's step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from importlib import import_module
from typing import Any, Final

import torch

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks.engine import Engine, PipelinePlace
from hydro.squeezer.hooks.events import Activity, StageEvents
from hydro.squeezer.hooks.step_probe import StepProbe

_MAP: Final = "_INSTRUCTION_MAP"
_ACTIVITIES: Final = {
    "ForwardPass": Activity.FORWARD,
    "BackwardPass": Activity.BACKWARD,
    "RecvActivation": Activity.WAIT,
    "RecvGrad": Activity.WAIT,
    "SendActivation": Activity.SEND,
    "SendGrad": Activity.SEND,
    "CommitP2P": Activity.WAIT,
    "ReduceTiedGrads": Activity.OPTIMIZER,
    "ReduceGrads": Activity.OPTIMIZER,
    "OptimizerStep": Activity.OPTIMIZER,
}
_UNTOLD: Final = frozenset({"LoadMicroBatch"})
_QUEUED_BY_COMMIT: Final = frozenset({"RecvActivation", "RecvGrad", "SendActivation", "SendGrad"})
_COLLECTIVES: Final = (
    "all_reduce",
    "all_reduce_coalesced",
    "all_gather",
    "all_gather_into_tensor",
    "barrier",
    "broadcast",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
)
_METHODS: Final = ("train_batch", "reset_activation_shape", "_exec_schedule")


class DeepSpeedEngine(Engine):
    """A PipelineEngine of DeepSpeed.

    A step is one `train_batch(...)`.

    Raises:
        FailedPrecondition: this DeepSpeed has not the seams that the adapter knows, or instructions that it does not
            know.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        found = getattr(type(engine), _MAP, None)
        missing = [name for name in _METHODS if not callable(getattr(engine, name, None))]
        if not isinstance(found, dict) or missing:
            raise _unknown(f"{', '.join(missing) or _MAP} is missing")
        self._instructions: dict[type, Callable[..., Any]] = found
        names = {each.__name__ for each in found}
        if unknown := sorted(names - _ACTIVITIES.keys() - _UNTOLD):
            raise _unknown(f"instructions {', '.join(unknown)} are new")
        if not {"ForwardPass", "BackwardPass", "RecvActivation", "RecvGrad", "OptimizerStep"} <= names:
            raise _unknown("it has no forward, backward, receives or optimizer's step")

    @property
    def place(self) -> PipelinePlace:
        """Where this process is in the run."""
        engine = self._engine
        return PipelinePlace(
            stage=int(engine.stage_id),
            stages=int(engine.num_stages),
            microbatches=int(engine.micro_batches),
            schedule="DualPipeV" if self._commits else "1F1B",
            replica=min(engine.grid.pp_group),
            chunks=2 if self._commits else 1,
        )

    @property
    def device(self) -> torch.device:
        """Where the stage computes."""
        return torch.device(self._engine.device)

    def shadow(self, events: StageEvents) -> Callable[[], None]:
        """Tells of each step from now on, until the function that it gives is called."""
        engine, probe = self._engine, StepProbe(events)
        setattr(engine, _MAP, {each: self._told(probe, each, run) for each, run in self._instructions.items()})
        train_batch, reset = engine.train_batch, engine.reset_activation_shape

        @wraps(train_batch)
        def stepped(*arguments: Any, **keywords: Any) -> Any:
            return probe.step(engine.micro_batches, train_batch, *arguments, **keywords)

        @wraps(reset)
        def changed(*arguments: Any, **keywords: Any) -> Any:
            events.schedule_changed()
            return reset(*arguments, **keywords)

        engine.train_batch, engine.reset_activation_shape = stepped, changed
        backend = _backend()
        collectives = list(_shadow_collectives(backend, probe))
        return partial(self._unshadow, backend, collectives)

    @property
    def _commits(self) -> bool:
        """Sends and receives are queued, and waited for in a commit: DualPipeV."""
        return any(each.__name__ == "CommitP2P" for each in self._instructions)

    def _told(self, probe: StepProbe, instruction: type, run: Callable[..., Any]) -> Callable[..., Any]:
        activity = _ACTIVITIES.get(instruction.__name__)
        if activity is None or (self._commits and instruction.__name__ in _QUEUED_BY_COMMIT):
            return run

        @wraps(run)
        def told(engine: Any, *arguments: Any, **keywords: Any) -> Any:
            return probe.run(activity, run, engine, *arguments, **keywords)

        return told

    def _unshadow(self, backend: Any, collectives: list[str]) -> None:
        for name in (_MAP, "train_batch", "reset_activation_shape"):
            vars(self._engine).pop(name, None)
        for name in collectives:
            vars(backend).pop(name, None)


def _unknown(why: str) -> FailedPrecondition:
    version = import_module("deepspeed").__version__
    return FailedPrecondition(
        f"engine: DeepSpeed {version} runs pipelines in a way that Hydro's hook does not know: {why}."
        " Use DeepSpeed 0.16.5 to 0.19.8, or a newer Hydro"
    )


def _backend() -> Any:
    """What DeepSpeed's collectives go through: one object for the process."""
    backend = getattr(import_module("deepspeed.comm.comm"), "cdb", None)
    if backend is None:
        raise _unknown("deepspeed.comm has no backend")
    return backend


def _shadow_collectives(backend: Any, probe: StepProbe) -> Iterator[str]:
    for name in _COLLECTIVES:
        collective = getattr(backend, name, None)
        if callable(collective) and name not in vars(backend):
            setattr(backend, name, _waited(probe, collective))
            yield name


def _waited(probe: StepProbe, collective: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(collective)
    def run(*arguments: Any, **keywords: Any) -> Any:
        # One that is only started is no wait.
        if keywords.get("async_op") or any(each is True for each in arguments):
            return collective(*arguments, **keywords)
        return probe.run(Activity.COLLECTIVE, collective, *arguments, **keywords)

    return run
