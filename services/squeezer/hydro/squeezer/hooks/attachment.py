"""`hydro.squeezer.attach(engine)`: the one line in a training script."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.squeezer.hooks.engine import Engine, PipelinePlace
from hydro.squeezer.hooks.events import StageListener
from hydro.squeezer.hooks.recorder_settings import RecorderSettings
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.stage_recorder import StageRecorder
from hydro.squeezer.hooks.stage_reporter import StageDescription, StageReporter
from hydro.squeezer.hooks.stream_marks import StreamMarks

_log = structlog.get_logger()
_DEFAULT_GATE_DIRECTORY: Final = "/dev/shm/hydro"


@dataclass(frozen=True, slots=True)
class AttachSettings:
    """Where the hook reports to: what a script says, over the environment of its process."""

    pipeline_run: str
    squeezer_address: str | None
    gate_directory: Path
    record: RecorderSettings | None

    @classmethod
    def of(
        cls, pipeline_run: str | None, squeezer_address: str | None, gate_directory: Path | str | None
    ) -> AttachSettings:
        """Reads from the environment what is not given: HYDRO_PIPELINE_RUN, _SQUEEZER_ADDRESSES, _GATE_DIRECTORY."""
        environment = os.environ
        directory = gate_directory or environment.get("HYDRO_GATE_DIRECTORY", _DEFAULT_GATE_DIRECTORY)
        return cls(
            pipeline_run or environment.get("HYDRO_PIPELINE_RUN") or _run_name(environment.get("TORCHELASTIC_RUN_ID")),
            squeezer_address or _address(environment.get("HYDRO_SQUEEZER_ADDRESSES", "")),
            Path(directory),
            RecorderSettings.from_environment(environment),
        )


class Attachment:
    """A hook at work in this process."""

    def __init__(
        self, hook: StageHook | None, listeners: Sequence[StageListener], unshadow: Callable[[], None]
    ) -> None:
        self._hook = hook
        self._listeners = listeners
        self._unshadow = unshadow

    @property
    def is_active(self) -> bool:
        """Somebody is told of the run."""
        return self._hook is not None

    @property
    def cost_seconds(self) -> float:
        """Processor time that the hook has taken from the run so far."""
        return self._hook.cost_ns / 1e9 if self._hook is not None else 0.0

    @property
    def reporter(self) -> StageReporter | None:
        """What tells the squeezer, if one is told."""
        return next((each for each in self._listeners if isinstance(each, StageReporter)), None)

    def detach(self) -> None:
        """Puts the engine back as it was, and takes leave of the squeezer. A second call does nothing."""
        if self._hook is None:
            return
        self._unshadow()
        self._hook.close()
        for each in self._listeners:
            if isinstance(each, StageReporter | StageRecorder):
                each.close()
        self._hook = None


def attach(
    engine: Any,
    *,
    pipeline_run: str | None = None,
    squeezer_address: str | None = None,
    gate_directory: Path | str | None = None,
) -> Attachment:
    """Lets trials into the bubbles of this process's pipeline stage, and `hydro bubbles` see them.

    Call it once in each process, when the engine stands. Without a squeezer's address, and not under `hydro bubbles`,
    it leaves the engine alone: the line can stay in the script. A squeezer that cannot be reached is tried again, and
    the run never waits for it.

    Args:
        engine: DeepSpeed's PipelineEngine, or a schedule of torch.distributed.pipelining.
        pipeline_run: name of the run, the same in all its processes. Default: HYDRO_PIPELINE_RUN, or torchrun's id.
        squeezer_address: host:port of the squeezer of this process's GPU. Default: the entry of
            HYDRO_SQUEEZER_ADDRESSES at LOCAL_RANK, or its only one.
        gate_directory: the folder that this machine's squeezer shares. Default: HYDRO_GATE_DIRECTORY.

    Raises:
        InvalidArgument: the engine is none that the hook knows, or there are fewer addresses than local ranks.
        FailedPrecondition: the engine's library is of a version that the hook does not know.
        OSError: the event ring cannot be made in the gate directory.
    """
    settings = AttachSettings.of(pipeline_run, squeezer_address, gate_directory)
    if settings.squeezer_address is None and settings.record is None:
        return Attachment(None, (), lambda: None)
    adapter = find_engine(engine)
    place = adapter.place
    marks = StreamMarks() if adapter.device.type == "cuda" else None
    hook = StageHook(listeners := _listeners(settings, place), marks)
    for each in listeners:
        if isinstance(each, StageRecorder):
            each.hook_cost_ns = lambda: hook.cost_ns
    unshadow = adapter.shadow(hook)
    vars(engine)[ATTACHED] = True
    _log.info("stage attached", pipeline_run=settings.pipeline_run, stage=place.stage, schedule=place.schedule)
    return Attachment(hook, listeners, unshadow)


ATTACHED: Final = "_hydro_attached"
"""Attribute of an engine that a hook watches."""


def find_engine(engine: Any) -> Engine:
    """Gives the adapter of an engine.

    Raises:
        InvalidArgument: there is none for it.
        FailedPrecondition: its library is of a version that the adapter does not know.
    """
    origins = {f"{each.__module__}.{each.__name__}" for each in type(engine).__mro__}
    # Imported only for those who have it.
    if "deepspeed.runtime.pipe.engine.PipelineEngine" in origins:
        from hydro.squeezer.hooks.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(engine)
    if "torch.distributed.pipelining.schedules._PipelineSchedule" in origins:
        from hydro.squeezer.hooks.torch_pipelining import TorchPipelining

        return TorchPipelining(engine)
    raise InvalidArgument.of(
        [
            FieldViolation(
                "engine",
                f"a {type(engine).__module__}.{type(engine).__name__} is no pipeline engine that the hook knows: give"
                " DeepSpeed's PipelineEngine or a schedule of torch.distributed.pipelining",
            )
        ]
    )


def _listeners(settings: AttachSettings, place: PipelinePlace) -> list[StageListener]:
    found: list[StageListener] = []
    if settings.squeezer_address is not None:
        description = StageDescription(
            settings.pipeline_run, place.stage, place.stages, place.microbatches, place.schedule, _cores()
        )
        found.append(StageReporter(description, settings.gate_directory, settings.squeezer_address))
    if settings.record is not None:
        found.append(StageRecorder(settings.record, place))
    return found


def _cores() -> tuple[int, ...]:
    """Where the stage runs, if it is pinned: on a CPU that is what trials share with it."""
    mine = os.sched_getaffinity(0)
    return tuple(sorted(mine)) if len(mine) < (os.cpu_count() or 1) else ()


def _address(addresses: str) -> str | None:
    found = [each.strip() for each in addresses.split(",") if each.strip()]
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    if len(found) <= 1:
        return found[0] if found else None
    if rank >= len(found):
        message = f"{addresses!r} has no entry for LOCAL_RANK {rank}: give one address for each GPU, or one for all"
        raise InvalidArgument.of([FieldViolation("HYDRO_SQUEEZER_ADDRESSES", message)])
    return found[rank]


def _run_name(identifier: str | None) -> str:
    """A name of a run from whatever torchrun calls it."""
    return re.sub(r"[^a-z0-9]+", "-", (identifier or "").lower()).strip("-")[:63].strip("-") or "pipeline"
