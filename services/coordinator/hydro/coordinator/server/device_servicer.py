"""DeviceService: parse, call, convert back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from hydro.api.coordinator.v1 import device_service_pb2, device_service_pb2_grpc
from hydro.coordinator.devices import Devices
from hydro.coordinator.names import DeviceName
from hydro.coordinator.server import convert_work, pages

Context = grpc.aio.ServicerContext[Any, Any]
_DEVICES_PER_PAGE = 100


class DeviceServicer(device_service_pb2_grpc.DeviceServiceServicer):
    """Where bundles run."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def RegisterDevice(  # noqa: N802
        self, request: device_service_pb2.RegisterDeviceRequest, context: Context
    ) -> device_service_pb2.Device:
        """Stores a device; sent twice it stores the same."""
        return convert_work.device_message(await self._devices.register(convert_work.device_of(request.device)))

    async def ListDevices(  # noqa: N802
        self, request: device_service_pb2.ListDevicesRequest, context: Context
    ) -> device_service_pb2.ListDevicesResponse:
        """Gives a page of the devices."""
        size = pages.page_size(request.page_size, _DEVICES_PER_PAGE)
        found = await self._devices.list(pages.last_of(request.page_token), size)
        token = pages.token_of(str(found[-1].name)) if len(found) == size else ""
        devices = map(convert_work.device_message, found)
        return device_service_pb2.ListDevicesResponse(devices=devices, next_page_token=token)

    async def DrainDevice(  # noqa: N802
        self, request: device_service_pb2.DrainDeviceRequest, context: Context
    ) -> device_service_pb2.Device:
        """Takes a device out of use."""
        return convert_work.device_message(await self._devices.drain(DeviceName.parse(request.name)))

    async def WatchDevices(  # noqa: N802
        self, request: device_service_pb2.WatchDevicesRequest, context: Context
    ) -> AsyncIterator[device_service_pb2.WatchDevicesResponse]:
        """Gives all devices, then every change."""
        async for devices in self._devices.watch():
            yield device_service_pb2.WatchDevicesResponse(devices=map(convert_work.device_message, devices))
