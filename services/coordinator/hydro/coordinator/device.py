"""A device: a CPU, a GPU, or a slot (a GPU's recurring idle time)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from hydro.coordinator.names import DeviceName, LeaseName
from hydro.coordinator.transition import transition


class DeviceKind(Enum):
    """What a device is."""

    CPU = "CPU"
    GPU = "GPU"
    SLOT = "SLOT"


class DeviceState(Enum):
    """READY > DRAINING, either > GONE, any > READY when it is registered again."""

    READY = "READY"
    DRAINING = "DRAINING"
    GONE = "GONE"


DRAIN_DEVICE = transition("drain", [DeviceState.READY], DeviceState.DRAINING)
LOSE_DEVICE = transition("lose", [DeviceState.READY, DeviceState.DRAINING], DeviceState.GONE)
RETURN_DEVICE = transition("register", [DeviceState.DRAINING, DeviceState.GONE], DeviceState.READY)

TRANSITIONS = (DRAIN_DEVICE, LOSE_DEVICE, RETURN_DEVICE)


REGISTERED = "registered"
LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Device:
    """Where a bundle can run.

    `memory_bytes` is what bundles may use, 0: not known. `duty_cycle` (a share in [0, 1]) and `bubble_seconds` are a
    slot's. `source` says who brought it: LOCAL is the settings, REGISTERED a worker of its own, anything else the
    address of the squeezer that offers the slot. `lease` is the active lease on it, `bundle` the bundle that is
    allocated to it or runs on it. `threads` are those of one op that a worker has to give, 0: not known, or a GPU.
    """

    name: DeviceName
    kind: DeviceKind
    state: DeviceState = DeviceState.READY
    model: str = ""
    memory_bytes: int = 0
    cpu_cores: tuple[int, ...] = ()
    gpu_index: int | None = None
    duty_cycle: float = 0.0
    bubble_seconds: float = 0.0
    source: str = ""
    lease: LeaseName | None = None
    bundle: int | None = None
    update_time: datetime | None = None
    threads: int = 0

    @property
    def is_exclusive(self) -> bool:
        """Whether nothing else runs on it."""
        return self.kind is not DeviceKind.SLOT
