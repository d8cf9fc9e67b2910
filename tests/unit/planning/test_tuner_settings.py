"""Settings of the tuner."""

import pytest
from pydantic import ValidationError

from hydro.tuner.building.limits import BuildLimits
from hydro.tuner.settings import TunerSettings


def test_limits_of_builds_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("HYDRO_TUNER_BUILD_TIMEOUT_SECONDS", "30")
    monkeypatch.setenv("HYDRO_TUNER_BUILD_MEMORY_BYTES", "1000")
    assert TunerSettings().build_limits == BuildLimits(timeout_seconds=30.0, memory_bytes=1000, threads=None)
    monkeypatch.setenv("HYDRO_TUNER_COMPILE", "0")
    assert TunerSettings().build_limits.compiles is False


def test_a_limit_that_allows_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("HYDRO_TUNER_BUILD_TIMEOUT_SECONDS", "0")
    with pytest.raises(ValidationError, match="build_timeout_seconds"):
        TunerSettings()
