"""A squeezer over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import grpc

from hydro.api.squeezer.v1 import squeezer_service_pb2, squeezer_service_pb2_grpc
from hydro.coordinator.device import Device, DeviceKind
from hydro.coordinator.names import DeviceName, LeaseName

DEADLINE_SECONDS = 10.0


class SqueezerClient:
    """The port `Squeezer`, over a channel."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._stub = squeezer_service_pb2_grpc.SqueezerServiceStub(channel)
        self._address = address

    @property
    def source(self) -> str:
        """The squeezer's address."""
        return self._address

    async def slots(self) -> AsyncIterator[Sequence[Device]]:
        """Gives the slots that there are, then again at every change."""
        async for answer in self._stub.WatchSlots(squeezer_service_pb2.WatchSlotsRequest()):
            yield [self._device_of(slot) for slot in answer.slots]

    async def claim(self, slot: DeviceName, lease: LeaseName) -> str:
        """Gives the slot to the lease, and the name of its gate page."""
        request = squeezer_service_pb2.ClaimSlotRequest(
            name=str(slot), lease=str(lease), fencing_token=lease.fencing_token, request_id=str(lease)
        )
        return str((await self._stub.ClaimSlot(request, timeout=DEADLINE_SECONDS)).gate)

    async def release(self, slot: DeviceName, lease: LeaseName) -> None:
        """Takes the slot back, if the lease has it."""
        request = squeezer_service_pb2.ReleaseSlotRequest(name=str(slot), fencing_token=lease.fencing_token)
        await self._stub.ReleaseSlot(request, timeout=DEADLINE_SECONDS)

    def _device_of(self, slot: squeezer_service_pb2.Slot) -> Device:
        return Device(
            name=DeviceName.parse(slot.name),
            kind=DeviceKind.SLOT,
            model=slot.model,
            memory_bytes=slot.memory_bytes,
            cpu_cores=tuple(slot.cpu_cores),
            gpu_index=slot.gpu_index if slot.HasField("gpu_index") else None,
            duty_cycle=slot.duty_cycle,
            bubble_seconds=slot.bubble_seconds,
            source=self._address,
        )
