"""What of the service's environment the user's code may see."""

import os

import pytest

from hydro.tuner.building.process_builder import build_threads, child_environment


def test_the_childs_environment_has_no_secret_of_the_service():
    environment = {"PATH": "/bin", "HYDRO_DATABASE_URL": "postgresql://user:secret@/db", "CUDA_VISIBLE_DEVICES": "0"}
    child = child_environment(environment, threads=2)
    assert child["PATH"] == "/bin"
    assert child["CUDA_VISIBLE_DEVICES"] == "0"
    assert child["OMP_NUM_THREADS"] == "2"
    assert "secret" not in str(child)


def test_the_childs_compile_cache_is_where_the_service_was_told_to_keep_it():
    assert child_environment({"TORCHINDUCTOR_CACHE_DIR": "/data/torch"}, threads=1)["TORCHINDUCTOR_CACHE_DIR"]


@pytest.mark.parametrize(("chosen", "given", "threads"), [(None, 0, 1), (None, 1, 1), (3, 1, 3)])
def test_a_build_has_the_threads_of_the_devices_unless_others_are_chosen(chosen, given, threads):
    assert build_threads(chosen, given) == threads


def test_a_build_has_no_more_threads_than_there_are_cores():
    assert build_threads(None, 10**6) == len(os.sched_getaffinity(0))
