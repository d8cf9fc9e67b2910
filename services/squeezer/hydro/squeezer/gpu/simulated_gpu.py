"""A GPU that is a number of bytes: for machines without one."""

from __future__ import annotations

from hydro.squeezer.gpu.gpu import GpuMemory, GpuProcess, GpuUnavailable


class SimulatedGpu:
    """Keeps account of memory that processes are said to hold.

    Args:
        memory_bytes: all of it.
        model: what it calls itself.
    """

    def __init__(self, memory_bytes: int, model: str = "simulated") -> None:
        if memory_bytes <= 0:
            raise ValueError(f"memory_bytes: {memory_bytes} is no size of a GPU's memory; give a positive number")
        self._memory_bytes = memory_bytes
        self._model = model
        self._held: dict[int, int] = {}
        self.fails = False

    @property
    def model(self) -> str:
        """Name of the hardware."""
        return self._model

    @property
    def index(self) -> int | None:
        """None: CUDA does not know it."""
        return None

    def memory(self) -> GpuMemory:
        """Gives the memory now."""
        self._check()
        return GpuMemory(self._memory_bytes, self._memory_bytes - sum(self._held.values()))

    def processes(self) -> tuple[GpuProcess, ...]:
        """Gives the processes that hold memory now."""
        self._check()
        return tuple(GpuProcess(pid, used) for pid, used in sorted(self._held.items()) if used)

    def hold(self, pid: int, used_bytes: int) -> None:
        """Sets what a process holds.

        Raises:
            ValueError: there is not so much.
        """
        others = sum(held for each, held in self._held.items() if each != pid)
        if not 0 <= used_bytes <= self._memory_bytes - others:
            raise ValueError(f"used_bytes: {used_bytes} does not fit beside {others} of {self._memory_bytes} bytes")
        self._held[pid] = used_bytes

    def _check(self) -> None:
        if self.fails:
            raise GpuUnavailable("the simulated GPU was told to fail")
