"""What every GPU behind the port keeps."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from hydro.squeezer.gpu.gpu import Gpu, GpuMemory, GpuUnavailable, trial_memory_bytes
from hydro.squeezer.gpu.nvml_gpu import NvmlGpu
from hydro.squeezer.gpu.simulated_gpu import SimulatedGpu

GIB = 1 << 30


def simulated() -> Gpu:
    gpu = SimulatedGpu(16 * GIB)
    gpu.hold(os.getpid(), 2 * GIB)
    return gpu


def nvml() -> Gpu:
    try:
        return NvmlGpu(0)
    except GpuUnavailable as error:
        pytest.skip(f"no NVIDIA GPU here: {error}")


@pytest.fixture(params=[simulated, nvml])
def gpu(request: pytest.FixtureRequest) -> Gpu:
    make: Callable[[], Gpu] = request.param
    return make()


def test_gpu_has_a_model(gpu: Gpu) -> None:
    assert gpu.model


def test_index_is_one_that_cuda_could_know(gpu: Gpu) -> None:
    assert gpu.index is None or gpu.index >= 0


def test_free_memory_is_at_most_the_total(gpu: Gpu) -> None:
    memory = gpu.memory()
    assert 0 <= memory.free_bytes <= memory.total_bytes
    assert memory.total_bytes > 0


def test_processes_hold_no_more_than_is_not_free(gpu: Gpu) -> None:
    memory = gpu.memory()
    assert sum(each.used_bytes for each in gpu.processes()) <= memory.total_bytes - memory.free_bytes
    assert all(each.pid > 0 and each.used_bytes >= 0 for each in gpu.processes())


def test_simulated_gpu_gives_back_what_a_process_lets_go() -> None:
    gpu = SimulatedGpu(8 * GIB)
    gpu.hold(1, 3 * GIB)
    gpu.hold(2, GIB)
    gpu.hold(1, 0)
    assert gpu.memory() == GpuMemory(8 * GIB, 7 * GIB)
    assert [each.pid for each in gpu.processes()] == [2]
    with pytest.raises(ValueError, match="does not fit"):
        gpu.hold(1, 8 * GIB)


def test_gpu_that_fails_says_so_and_may_come_back() -> None:
    gpu = SimulatedGpu(8 * GIB)
    gpu.fails = True
    with pytest.raises(GpuUnavailable):
        gpu.memory()
    gpu.fails = False
    assert gpu.memory().free_bytes == 8 * GIB


def test_gpu_of_an_index_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(GpuUnavailable):
        NvmlGpu(4096)


@pytest.mark.parametrize(
    ("free", "growth", "expected"),
    [(10 * GIB, 0, 9 * GIB), (10 * GIB, 4 * GIB, 5 * GIB), (GIB, 0, 0), (3 * GIB, 5 * GIB, 0)],
)
def test_trials_get_what_the_run_will_not_take_again(free: int, growth: int, expected: int) -> None:
    assert trial_memory_bytes(GpuMemory(16 * GIB, free), growth) == expected


def test_headroom_grows_with_the_gpu() -> None:
    assert trial_memory_bytes(GpuMemory(100 * GIB, 100 * GIB), 0) == 95 * GIB
