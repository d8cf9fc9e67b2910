"""What of the service's environment the user's code may see."""

from hydro.tuner.building.process_builder import child_environment


def test_the_childs_environment_has_no_secret_of_the_service():
    environment = {"PATH": "/bin", "HYDRO_DATABASE_URL": "postgresql://user:secret@/db", "CUDA_VISIBLE_DEVICES": "0"}
    child = child_environment(environment, threads=2)
    assert child["PATH"] == "/bin"
    assert child["CUDA_VISIBLE_DEVICES"] == "0"
    assert child["OMP_NUM_THREADS"] == "2"
    assert "secret" not in str(child)


def test_the_childs_compile_cache_is_where_the_service_was_told_to_keep_it():
    assert child_environment({"TORCHINDUCTOR_CACHE_DIR": "/data/torch"}, threads=1)["TORCHINDUCTOR_CACHE_DIR"]
