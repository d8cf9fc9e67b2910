"""Measured profiles, kept beside the artifacts: another study of the same graph on such a machine measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import structlog

from hydro.kit.artifacts import ArtifactStore
from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.profiler import Measured


class ProfileCache:
    """Profiles by key (see `profile_key`)."""

    def __init__(self, artifact_uri: str) -> None:
        self._store = ArtifactStore(artifact_uri)

    def measured(self, key: str, measure: Callable[[], Measured]) -> Measured:
        """Gives the stored profile, or measures and stores it; what cannot be read is measured again."""
        path = f"profiles/{key}.json"
        data = self._store.find(path)
        if data is not None:
            try:
                return _read(data)
            except (ValueError, KeyError, TypeError) as error:
                structlog.get_logger().warning("stored profile is measured again", path=path, reason=repr(error))
        measured = measure()
        self._store.write(path, json.dumps(asdict(measured)).encode())
        return measured


def _read(data: bytes) -> Measured:
    fields = json.loads(data)
    return Measured(Profile.from_fields(fields["profile"]), f"{fields['report']} (measured before)")
