"""Measured profiles, kept beside the artifacts: another study of the same graph on such a machine measures nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

import structlog

from hydro.kit.artifacts import ArtifactStore
from hydro.tuner.planning.profile import Profile
from hydro.tuner.planning.profiler import Measured


class ProfileCache:
    """Profiles by key (see `profile_key`)."""

    def __init__(self, artifact_uri: str) -> None:
        self._store = ArtifactStore(artifact_uri)

    def find(self, key: str) -> Measured | None:
        """Gives the stored profile; None: there is none, or it cannot be read and is to be measured again."""
        data = self._store.find(_path(key))
        if data is None:
            return None
        try:
            return _read(data)
        except (ValueError, KeyError, TypeError) as error:
            structlog.get_logger().warning("stored profile is measured again", path=_path(key), reason=repr(error))
            return None

    def store(self, key: str, measured: Measured) -> None:
        """Stores a profile, in the place of the one that was there."""
        self._store.write(_path(key), json.dumps(asdict(measured)).encode())


def _path(key: str) -> str:
    return f"profiles/{key}.json"


def _read(data: bytes) -> Measured:
    fields = json.loads(data)
    return Measured(Profile.from_fields(fields["profile"]), f"{fields['report']} (measured before)")
