"""What of the service's environment the user's code may see."""

from hydro.tuner.building.process_builder import child_environment


def test_the_childs_environment_has_no_secret_of_the_service():
    environment = {"PATH": "/bin", "HYDRO_DATABASE_URL": "postgresql://user:secret@/db", "CUDA_VISIBLE_DEVICES": "0"}
    child = child_environment(environment, threads=2)
    assert child["PATH"] == "/bin"
    assert child["CUDA_VISIBLE_DEVICES"] == "0"
    assert child["OMP_NUM_THREADS"] == "2"
    assert "secret" not in str(child)
