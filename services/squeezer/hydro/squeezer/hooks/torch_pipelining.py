"""The adapter for torch.distributed.pipelining: every schedule of it, single or with several stages a rank.

A schedule's computing goes through methods of its stages, which are shadowed on the instances; its waiting goes through
one function of the module, which is wrapped once for the process. Both are feature-detected: a torch whose names differ
is refused, and not half observed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final

import torch
import torch.distributed
from torch.distributed.pipelining import schedules

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks.engine import Engine, PipelinePlace
from hydro.squeezer.hooks.events import Activity, StageEvents
from hydro.squeezer.hooks.step_probe import StepProbe

_WAIT: Final = "_wait_batch_p2p"
_WRAPPED: Final = "_hydro_wrapped"
_COMPUTING: Final = {
    "forward_one_chunk": Activity.FORWARD,
    "backward_one_chunk": Activity.BACKWARD,
    "backward_weight_one_chunk": Activity.WEIGHT,
    "perform_reduce_grad": Activity.OPTIMIZER,
}
_STAGES: Final = ("_stage", "_stages")
_current: ContextVar[StepProbe | None] = ContextVar("stepping", default=None)


class TorchPipelining(Engine):
    """A schedule of torch.distributed.pipelining.

    A step is one `schedule.step(...)`; the optimizer's step is the script's own and lies between two of them.

    Raises:
        FailedPrecondition: this torch has not the seams that the adapter knows.
    """

    def __init__(self, schedule: Any) -> None:
        self._schedule = schedule
        self._stages = _stages(schedule)
        missing = [name for each in self._stages for name in _COMPUTING if not hasattr(each, name)]
        if not self._stages or missing or not callable(getattr(schedules, _WAIT, None)):
            raise FailedPrecondition(
                f"engine: torch {torch.__version__} pipelines in a way that Hydro's hook does not know"
                f" ({', '.join(dict.fromkeys(missing)) or _WAIT} is missing): use torch 2.13, or a newer Hydro"
            )

    @property
    def place(self) -> PipelinePlace:
        """Where this process is in the run."""
        group = self._stages[0].group
        return PipelinePlace(
            stage=torch.distributed.get_rank(group),
            stages=torch.distributed.get_world_size(group),
            microbatches=self._schedule._n_microbatches,
            schedule=type(self._schedule).__name__.removeprefix("Schedule"),
            replica=min(torch.distributed.get_process_group_ranks(group)) if group is not None else 0,
            chunks=len(self._stages),
        )

    @property
    def device(self) -> torch.device:
        """Where the stage computes."""
        return torch.device(self._stages[0].device)

    def shadow(self, events: StageEvents) -> Callable[[], None]:
        """Tells of each step from now on, until the function that it gives is called."""
        probe = StepProbe(events)
        _wrap_wait()
        for stage in self._stages:
            for name, activity in _COMPUTING.items():
                setattr(stage, name, _told(probe, activity, getattr(stage, name)))
        self._schedule.step = _stepped(probe, self._schedule, self._schedule.step)
        return self._unshadow

    def _unshadow(self) -> None:
        for stage in self._stages:
            for name in _COMPUTING:
                vars(stage).pop(name, None)
        vars(self._schedule).pop("step", None)


def _stages(schedule: Any) -> list[Any]:
    found: Any = next((getattr(schedule, name) for name in _STAGES if hasattr(schedule, name)), [])
    return list(found) if isinstance(found, list | tuple) else [found]


def _told(probe: StepProbe, activity: Activity, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def run(*arguments: Any, **keywords: Any) -> Any:
        return probe.run(activity, method, *arguments, **keywords)

    return run


def _stepped(probe: StepProbe, schedule: Any, step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def run(*arguments: Any, **keywords: Any) -> Any:
        # `eval` comes through here as well.
        if not schedule._has_backward:
            return step(*arguments, **keywords)
        shapes = (
            schedule._n_microbatches,
            *(tuple(each.shape) for each in arguments if isinstance(each, torch.Tensor)),
        )
        with _stepping(probe):
            return probe.step(shapes, step, *arguments, **keywords)

    return run


@contextmanager
def _stepping(probe: StepProbe) -> Iterator[None]:
    token = _current.set(probe)
    try:
        yield
    finally:
        _current.reset(token)


def _wrap_wait() -> None:
    original = getattr(schedules, _WAIT)
    if hasattr(original, _WRAPPED):
        return

    @wraps(original)
    def wait(work: list[Any]) -> Any:
        probe = _current.get()
        # A list of nothing is no wait: which lists are empty depends on the stage alone.
        return original(work) if probe is None or not work else probe.run(Activity.WAIT, original, work)

    setattr(wait, _WRAPPED, True)
    setattr(schedules, _WAIT, wait)
