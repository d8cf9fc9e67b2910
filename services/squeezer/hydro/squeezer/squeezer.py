"""The squeezer of one GPU: the stages that run on it, the slots they give, and who holds them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from hydro.kit.clock import Clock
from hydro.kit.errors import Aborted, FailedPrecondition, NotFound, Unavailable
from hydro.squeezer.controller import ControllerSettings
from hydro.squeezer.events import EventReader
from hydro.squeezer.gate import SUFFIX, ControllerGate
from hydro.squeezer.gatekeeper import Gatekeeper, GateReport, WatchdogSettings, kill_worker
from hydro.squeezer.gpu.gpu import Gpu, GpuUnavailable, is_low, memory_room_bytes, trial_memory_bytes
from hydro.squeezer.pipeline import Stage, StageMemory
from hydro.squeezer.shared_page import PageRejected
from hydro.squeezer.slot import Claim, Slot, SlotName, SlotState

_log = structlog.get_logger()
_LOOK_SECONDS: Final = 0.1
_NOTABLE_CHANGE: Final = 0.2


@dataclass(frozen=True, slots=True)
class SqueezerSettings:
    """Numbers of the squeezer."""

    controller: ControllerSettings = ControllerSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    steps_before_offer: int = 5
    """A slot is offered when so many steps were observed."""
    stage_silence_seconds: float = 3.0
    """A stage whose hook has been silent so long has gone."""


@dataclass(frozen=True, slots=True)
class SlotOffer:
    """A slot as others see it."""

    name: SlotName
    pipeline_run: str
    stage: int
    model: str
    memory_bytes: int
    duty_cycle: float
    bubble_seconds: float
    cpu_cores: tuple[int, ...]
    gpu_index: int | None
    breaker_open: bool

    def differs_notably(self, other: SlotOffer) -> bool:
        """Watchers should hear of it: figures drift by a little at every step."""
        if self._without_figures() != other._without_figures():
            return True
        pairs = (
            (self.duty_cycle, other.duty_cycle),
            (self.bubble_seconds, other.bubble_seconds),
            (self.memory_bytes, other.memory_bytes),
        )
        return any(abs(new - old) > _NOTABLE_CHANGE * max(new, old) for new, old in pairs)

    def _without_figures(self) -> SlotOffer:
        return replace(self, duty_cycle=0.0, bubble_seconds=0.0, memory_bytes=0)


@dataclass(slots=True, eq=False)
class AttachedStage:
    """A stage whose hook reports."""

    stage: Stage
    gatekeeper: Gatekeeper
    slot: Slot
    heard: float
    memory_bytes: int
    gate: ControllerGate | None = None
    leaving: tuple[ControllerGate, float] | None = None
    """Gate of a worker that had to leave its memory, and since when."""

    @property
    def is_on_offer(self) -> bool:
        """Others may see the slot; without memory nothing fits it."""
        has_memory = self.slot.state is SlotState.OFFERED and self.memory_bytes > 0
        return has_memory or self.slot.state is SlotState.CLAIMED


class Squeezer:
    """All stages on one GPU, by the run and the stage's index.

    Args:
        device: resource name of the GPU, `devices/*`.
        gpu: the GPU.
        gate_directory: where the shared pages are.
        settings: numbers.
        clock: tells when a stage was last heard.
    """

    def __init__(self, device: str, gpu: Gpu, gate_directory: Path, settings: SqueezerSettings, clock: Clock) -> None:
        self._device = device
        self._gpu = gpu
        self._gate_directory = gate_directory
        self._settings = settings
        self._clock = clock
        self._stages: dict[tuple[str, int], AttachedStage] = {}
        self._offers: tuple[SlotOffer, ...] = ()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_ended = False

    @property
    def slowdown_budget(self) -> float:
        """Share of a step's time that the pipeline run may lose."""
        return self._settings.controller.guard.slowdown_budget

    def attach(self, stage: Stage) -> AttachedStage:
        """Begins to observe a stage, in place of an earlier life of it.

        Raises:
            InvalidArgument: the report has wrong fields.
            FailedPrecondition: its event page cannot be used.
            Unavailable: the squeezer is ending.
        """
        stage.validate()
        if self._has_ended:
            raise Unavailable("the squeezer is ending: register the stage again later")
        self._loop = asyncio.get_running_loop()
        earlier = self._stages.get(stage.key)
        if earlier is not None:
            self.detach(earlier)
        try:
            reader = EventReader.attach(self._gate_directory / stage.event_page)
        except PageRejected as error:
            raise FailedPrecondition(f"event_page: {error}; is HYDRO_GATE_DIRECTORY the same on both sides?") from error
        attached = self._observe(stage, reader)
        self._stages[stage.key] = attached
        _log.info("stage attached", pipeline_run=stage.pipeline_run, stage=stage.index)
        return attached

    def heard(self, attached: AttachedStage, memory: StageMemory) -> None:
        """The stage's hook has sent its heartbeat.

        Raises:
            Aborted: the stage was given up meanwhile, or the squeezer ends; register it again.
        """
        if self._stages.get(attached.stage.key) is not attached:
            name = f"stage {attached.stage.index} of {attached.stage.pipeline_run!r}"
            raise Aborted(f"{name} is not attached any more: register it again")
        attached.heard = self._clock.monotonic()
        attached.stage = replace(attached.stage, memory=memory)

    def detach(self, attached: AttachedStage) -> None:
        """The stage has gone, and its slot with it."""
        if self._stages.get(attached.stage.key) is not attached:
            return
        del self._stages[attached.stage.key]
        attached.gatekeeper.stop()
        attached.slot = attached.slot.gone()
        _log.info("stage gone", pipeline_run=attached.stage.pipeline_run, stage=attached.stage.index)
        self._publish()

    def claim(self, name: SlotName, claim: Claim) -> str:
        """Gives the slot to a claim, and the file name of its gate.

        Raises:
            NotFound: there is no such slot now.
            FailedPrecondition: LEASE_LOST, the claim's token is stale.
        """
        attached = self._find(name)
        slot = attached.slot.claimed(claim)
        if not attached.is_on_offer:
            raise NotFound(f"slot {name} has no memory for trials now: watch the slots and claim one that there is")
        if slot is not attached.slot or attached.gate is None:
            file_name = f"{self._identifier}.{name.identifier}.{claim.fencing_token}.{secrets.token_hex(4)}{SUFFIX}"
            gate = ControllerGate.create(self._gate_directory / file_name, attached.stage.event_page)
            attached.gatekeeper.install(gate)
            attached.slot, attached.gate = slot, gate
        return attached.gate.path.name

    def release(self, name: SlotName, fencing_token: int) -> None:
        """Ends the claim of this token, if there is one."""
        attached = self._stage_of(name)
        if attached is None:
            return
        slot = attached.slot.released(fencing_token)
        if slot is not attached.slot:
            attached.slot, attached.gate = slot, None
            attached.gatekeeper.install(None)

    def offers(self) -> tuple[SlotOffer, ...]:
        """Gives the slots that there are now."""
        return self._offers

    def reports(self) -> tuple[GateReport, ...]:
        """Gives what each stage's gate did so far."""
        return tuple(each.gatekeeper.report for each in self._stages.values())

    async def watch(self) -> AsyncIterator[tuple[SlotOffer, ...]]:
        """Gives the slots now, then again after each change, until the squeezer ends."""
        while not self._has_ended:
            changed = self._changed
            yield self._offers
            await changed.wait()

    async def run(self) -> None:
        """Offers slots once they were observed, and drops stages that are silent, until cancelled."""
        try:
            while True:
                self.look()
                await self._clock.sleep(_LOOK_SECONDS)
        finally:
            self._has_ended = True
            for attached in list(self._stages.values()):
                self.detach(attached)
            self._wake_watchers()

    def look(self) -> None:
        """One round of `run`."""
        for attached in list(self._stages.values()):
            silence_seconds = self._clock.monotonic() - attached.heard
            if silence_seconds > self._settings.stage_silence_seconds or not attached.gatekeeper.is_alive():
                self.detach(attached)
            elif attached.slot.state is SlotState.OBSERVED and self._is_worth_offering(attached):
                attached.slot = attached.slot.offered()
            if attached.slot.state is SlotState.OFFERED:
                attached.memory_bytes = self._memory_bytes(attached)
            self._keep_memory_free(attached)
        self._publish()

    def _observe(self, stage: Stage, reader: EventReader) -> AttachedStage:
        gatekeeper = Gatekeeper(
            reader,
            self._settings.controller,
            self._settings.watchdog,
            partial(self._evicted_elsewhere, stage.key),
        )
        name = SlotName.of_stage(self._device, stage.pipeline_run, stage.index)
        attached = AttachedStage(stage, gatekeeper, Slot(name), self._clock.monotonic(), memory_bytes=0)
        gatekeeper.start()
        return attached

    def _is_worth_offering(self, attached: AttachedStage) -> bool:
        report = attached.gatekeeper.report
        enough = report.totals.steps >= self._settings.steps_before_offer
        return enough and report.longest_grant_ns >= self._settings.controller.smallest_grant_ns

    def _evicted_elsewhere(self, key: tuple[str, int], gate: ControllerGate) -> None:
        """Called by a gatekeeper's thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._evicted, key, gate)

    def _evicted(self, key: tuple[str, int], gate: ControllerGate) -> None:
        attached = self._stages.get(key)
        if attached is not None and attached.gate is gate:
            attached.slot, attached.gate = attached.slot.freed(), None

    def _memory_bytes(self, attached: AttachedStage) -> int:
        try:
            return trial_memory_bytes(self._gpu.memory(), attached.stage.memory.growth_bytes)
        except GpuUnavailable as error:
            _log.warning("GPU memory unknown", error=str(error))
            return attached.memory_bytes

    def _keep_memory_free(self, attached: AttachedStage) -> None:
        """Has a worker leave when the run is about to need what it holds, and kills one that does not."""
        if not self._memory_is_low(attached):
            attached.leaving = None
            self._tell_memory_room(attached)
        elif attached.gate is not None:
            _log.warning("worker evicted: memory is low", gate=attached.gate.path.name)
            attached.leaving = attached.gate, self._clock.monotonic()
            attached.slot, attached.gate = attached.slot.freed(), None
            attached.gatekeeper.install(None)
            attached.memory_bytes = 0
        elif attached.leaving is not None:
            gate, since = attached.leaving
            if self._clock.monotonic() - since > self._settings.watchdog.kill_seconds:
                attached.leaving = None
                kill_worker(gate)

    def _tell_memory_room(self, attached: AttachedStage) -> None:
        """Has the worker fit its lanes to the memory as it changes."""
        if attached.gate is None:
            return
        try:
            room = memory_room_bytes(self._gpu.memory(), attached.stage.memory.growth_bytes)
        except GpuUnavailable:
            return
        attached.gate.tell_memory_room(room)

    def _memory_is_low(self, attached: AttachedStage) -> bool:
        try:
            return is_low(self._gpu.memory(), attached.stage.memory.growth_bytes)
        except GpuUnavailable:
            return False

    def _publish(self) -> None:
        new = tuple(self._offer(each) for each in self._stages.values() if each.is_on_offer)
        old = {each.name: each for each in self._offers}
        if old.keys() == {each.name for each in new} and not any(each.differs_notably(old[each.name]) for each in new):
            return
        self._offers = new
        self._wake_watchers()

    def _wake_watchers(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _offer(self, attached: AttachedStage) -> SlotOffer:
        report = attached.gatekeeper.report
        return SlotOffer(
            name=attached.slot.name,
            pipeline_run=attached.stage.pipeline_run,
            stage=attached.stage.index,
            model=self._gpu.model,
            memory_bytes=attached.memory_bytes,
            duty_cycle=report.duty_cycle,
            bubble_seconds=report.longest_grant_ns / 1e9,
            cpu_cores=attached.stage.cpu_cores,
            gpu_index=self._gpu.index,
            breaker_open=report.breaker_is_open,
        )

    @property
    def _identifier(self) -> str:
        return self._device.removeprefix("devices/")

    def _find(self, name: SlotName) -> AttachedStage:
        attached = self._stage_of(name)
        if attached is None:
            raise NotFound(f"slot {name} is not there: its pipeline run has ended, or it is not on {self._device}")
        return attached

    def _stage_of(self, name: SlotName) -> AttachedStage | None:
        return next((each for each in self._stages.values() if each.slot.name == name), None)
