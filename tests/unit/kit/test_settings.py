from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from hydro.kit.settings import ServerSettings


class ExampleSettings(ServerSettings):
    model_config = SettingsConfigDict(env_prefix="HYDRO_EXAMPLE_")

    listen_address: str = "127.0.0.1:1"


def test_the_environment_stands_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "hydro.toml"
    file.write_text('listen_address = "file:1"\ndrain_seconds = 3.5\n')
    monkeypatch.setenv("HYDRO_CONFIG", str(file))
    monkeypatch.setenv("HYDRO_EXAMPLE_LISTEN_ADDRESS", "environment:1")
    settings = ExampleSettings()
    assert (settings.listen_address, settings.drain_seconds) == ("environment:1", 3.5)


def test_without_either_the_default_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYDRO_CONFIG", raising=False)
    assert ExampleSettings().listen_address == "127.0.0.1:1"
