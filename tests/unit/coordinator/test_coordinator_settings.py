"""What the coordinator can be told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hydro.coordinator.device import LOCAL, DeviceKind
from hydro.coordinator.settings import CoordinatorSettings

URL = "postgresql://user:secret@/db?host=/run/postgres"


def test_variables_of_the_environment_are_read(monkeypatch):
    monkeypatch.setenv("HYDRO_DATABASE_URL", URL)
    monkeypatch.setenv("HYDRO_COORDINATOR_LISTEN_ADDRESS", "localhost:1")
    monkeypatch.setenv("HYDRO_COORDINATOR_SQUEEZER_ADDRESSES", "a:1, b:2")
    monkeypatch.setenv("HYDRO_COORDINATOR_DEVICES", "cpu:3,gpu:0")
    settings = CoordinatorSettings()
    assert settings.database_url == URL and settings.listen_address == "localhost:1"
    assert settings.squeezer_addresses == ("a:1", "b:2")
    cpu, gpu = settings.local_devices()
    assert (str(cpu.name), cpu.kind, cpu.cpu_cores, cpu.source) == ("devices/local-cpu-3", DeviceKind.CPU, (3,), LOCAL)
    assert (str(gpu.name), gpu.kind, gpu.gpu_index) == ("devices/local-gpu-0", DeviceKind.GPU, 0)


def test_nothing_need_be_said_of_devices_and_squeezers(monkeypatch):
    monkeypatch.setenv("HYDRO_DATABASE_URL", URL)
    monkeypatch.setenv("HYDRO_COORDINATOR_SQUEEZER_ADDRESSES", "")
    settings = CoordinatorSettings()
    assert settings.squeezer_addresses == () and settings.local_devices() == []


@pytest.mark.parametrize(("name", "value"), [("HYDRO_DATABASE_URL", ""), ("HYDRO_COORDINATOR_DEVICES", "tpu:0")])
def test_what_cannot_be_is_refused_with_what_to_give(monkeypatch, name, value):
    monkeypatch.setenv("HYDRO_DATABASE_URL", URL)
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match="HYDRO_DATABASE_URL|give cpu:CORE"):
        CoordinatorSettings()


def test_the_database_of_another_program_is_not_taken(monkeypatch):
    monkeypatch.setenv("HYDRO_DATABASE_URL", URL)
    monkeypatch.setenv("DATABASE_URL", "postgresql://another")
    assert CoordinatorSettings().database_url == URL
