"""The port of what builds surrogates: the service knows no more of it."""

from __future__ import annotations

from typing import Protocol

from hydro.tuner.building.request import BuildRequest, BuildResult


class SurrogateBuilder(Protocol):
    """Builds surrogates.

    Laws: it always answers, with a result whose `failure` is set when there is no surrogate; when it is cancelled,
    nothing of the build goes on.
    """

    async def build(self, request: BuildRequest) -> BuildResult:
        """Builds one surrogate, however long that takes."""
        ...
