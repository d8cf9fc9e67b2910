"""A real GPU, through NVIDIA's management library."""

from __future__ import annotations

from typing import Any

import pynvml

from hydro.squeezer.gpu.gpu import GpuMemory, GpuProcess, GpuUnavailable


class NvmlGpu:
    """The GPU of an index, as NVML counts them.

    Raises:
        GpuUnavailable: there is no NVML here, or no GPU of that index.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        try:
            pynvml.nvmlInit()
            self._handle: Any = pynvml.nvmlDeviceGetHandleByIndex(index)
            self._model = _text(pynvml.nvmlDeviceGetName(self._handle))
        except pynvml.NVMLError as error:
            raise GpuUnavailable(f"GPU {index} cannot be reached through NVML: {error}") from error

    @property
    def model(self) -> str:
        """Name of the hardware."""
        return self._model

    @property
    def index(self) -> int | None:
        """Index for CUDA_VISIBLE_DEVICES."""
        return self._index

    def memory(self) -> GpuMemory:
        """Gives the memory now."""
        try:
            found = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        except pynvml.NVMLError as error:
            raise GpuUnavailable(f"GPU {self._index} does not tell its memory: {error}") from error
        return GpuMemory(int(found.total), int(found.free))

    def processes(self) -> tuple[GpuProcess, ...]:
        """Gives the processes that hold memory now."""
        try:
            found = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except pynvml.NVMLError as error:
            raise GpuUnavailable(f"GPU {self._index} does not list its processes: {error}") from error
        # Inside a container NVML may hide the size.
        return tuple(GpuProcess(int(each.pid), int(each.usedGpuMemory or 0)) for each in found)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
