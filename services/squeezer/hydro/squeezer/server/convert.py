"""Between messages and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from hydro.api.squeezer.v1 import pipeline_service_pb2, squeezer_service_pb2
from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.squeezer.pipeline import Stage, StageMemory
from hydro.squeezer.slot import Claim
from hydro.squeezer.squeezer import SlotOffer
from hydro.squeezer.statistics import Statistics


def stage(message: pipeline_service_pb2.ReportStagesRequest) -> Stage:
    """Gives the stage that a report describes."""
    return Stage(
        pipeline_run=message.pipeline_run,
        index=message.stage,
        stages=message.stages,
        microbatches=message.microbatches,
        schedule=message.schedule,
        event_page=message.event_page,
        memory=stage_memory(message),
        cpu_cores=tuple(message.cpu_cores),
    )


def stage_memory(message: pipeline_service_pb2.ReportStagesRequest) -> StageMemory:
    """Gives the run's memory in a report."""
    return StageMemory(message.reserved_bytes, message.peak_reserved_bytes)


def claim(message: squeezer_service_pb2.ClaimSlotRequest) -> Claim:
    """Gives who claims.

    Raises:
        InvalidArgument: there is no lease, or the token is no token.
    """
    wrong = []
    if not message.lease:
        wrong.append(FieldViolation("lease", "is empty: name the lease that the slot is claimed for"))
    if message.fencing_token < 1:
        wrong.append(FieldViolation("fencing_token", f"{message.fencing_token} is no token: give the lease's own"))
    if wrong:
        raise InvalidArgument.of(wrong)
    return Claim(message.lease, message.fencing_token)


def slots_to_message(offers: Sequence[SlotOffer]) -> squeezer_service_pb2.WatchSlotsResponse:
    """Gives the answer with all slots."""
    return squeezer_service_pb2.WatchSlotsResponse(slots=[_slot_to_message(each) for each in offers])


def statistics_to_message(statistics: Statistics) -> squeezer_service_pb2.Statistics:
    """Gives the message; its fields have the same names."""
    return squeezer_service_pb2.Statistics(**asdict(statistics))


def _slot_to_message(offer: SlotOffer) -> squeezer_service_pb2.Slot:
    return squeezer_service_pb2.Slot(
        name=str(offer.name),
        pipeline_run=offer.pipeline_run,
        stage=offer.stage,
        model=offer.model,
        memory_bytes=offer.memory_bytes,
        duty_cycle=offer.duty_cycle,
        bubble_seconds=offer.bubble_seconds,
        cpu_cores=offer.cpu_cores,
        gpu_index=offer.gpu_index,
        breaker_open=offer.breaker_open,
    )
