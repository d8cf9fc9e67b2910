"""What a project may have: open studies, trials in one of them, reports per second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydro.coordinator.names import ProjectName
from hydro.kit.clock import Clock
from hydro.kit.errors import QuotaViolation, ResourceExhausted

EVERY_PROJECT = "*"
OPEN_STUDIES_RETRY_SECONDS = 60.0
"""Nobody knows when a study of the project ends: who waits for it looks again after so long."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one project may have. 0: as much as it wants."""

    open_studies: int = 0
    trials_per_study: int = 0
    reports_per_second: float = 0.0
    """Measurements of trials, whoever trains them, at each coordinator; as many at once as one second allows."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a project may have, and how many of its studies have not ended."""

    quota: Quota
    open_studies: int


class Quotas:
    """Each project's quota: its own, else that of "*"."""

    def __init__(self, by_project: Mapping[str, Quota]) -> None:
        self._by_project = dict(by_project)
        self._otherwise = self._by_project.get(EVERY_PROJECT, Quota())

    def of(self, project: str) -> Quota:
        """The project's quota."""
        return self._by_project.get(project, self._otherwise)

    def check_trials(self, project: ProjectName, trials: int) -> None:
        """Raises ResourceExhausted (QUOTA_EXCEEDED) when a study has more trials than its project allows it."""
        limit = self.of(project.project).trials_per_study
        if 0 < limit < trials:
            said = f"trials_per_study is {limit}, and the study has max_trials {trials}: give it fewer"
            raise _exceeded(project.project, said, None)

    def check_open_studies(self, project: ProjectName, open_studies: int) -> None:
        """Raises ResourceExhausted (QUOTA_EXCEEDED) when the project has as many open studies as it may have."""
        limit = self.of(project.project).open_studies
        if 0 < limit <= open_studies:
            said = f"open_studies is {limit}, and so many are open: wait for the end of one, or cancel it"
            raise _exceeded(project.project, said, OPEN_STUDIES_RETRY_SECONDS)


class ReportRates:
    """A token bucket for each project that may not report as often as it wants."""

    def __init__(self, quotas: Quotas, clock: Clock) -> None:
        self._quotas = quotas
        self._clock = clock
        self._buckets: dict[str, _Bucket | None] = {}

    def take(self, project: str, measurements: int = 1) -> None:
        """Counts what is measured in the project. Raises ResourceExhausted (QUOTA_EXCEEDED) with the time to wait.

        A message with more measurements than one second allows passes when the bucket is full, and those after it wait.
        """
        try:
            bucket = self._buckets[project]
        except KeyError:
            rate = self._quotas.of(project).reports_per_second
            bucket = self._buckets[project] = _Bucket(rate, self._clock.monotonic()) if rate > 0 else None
        if bucket is None:
            return
        wait = bucket.take(self._clock.monotonic(), measurements)
        if wait > 0:
            said = f"reports_per_second is {bucket.rate:g}: report less often, or in larger steps"
            raise _exceeded(project, said, wait)


class _Bucket:
    """Fills with `rate` tokens a second, up to what one second brings, at least one."""

    __slots__ = ("_full", "_time", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._full = self._tokens = max(1.0, rate)
        self._time = now

    def take(self, now: float, count: int) -> float:
        """Takes tokens and gives 0, or the seconds until there are so many, or all that there can be."""
        self._tokens = min(self._full, self._tokens + (now - self._time) * self.rate)
        self._time = now
        missing = min(self._full, count) - self._tokens
        if missing > 0:
            return missing / self.rate
        self._tokens -= count
        return 0.0


def read_quotas(given: str) -> dict[str, Quota]:
    """Reads quotas: a JSON object of project (or "*" for every other one) to its limits, or the path of a file with it.

    Raises:
        ValueError: It is none.
    """
    text = given if not given.strip() or given.lstrip().startswith("{") else Path(given).read_text()
    content = json.loads(text) if text.strip() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{text[:100]!r} is no JSON object of projects")
    return {project: _quota(project, limits) for project, limits in content.items()}


def _quota(project: str, limits: Any) -> Quota:
    known = [each.name for each in fields(Quota)]
    if not isinstance(limits, dict) or limits.keys() - set(known):
        raise ValueError(f"the quota of {project!r} is {limits!r}: give an object of {', '.join(known)}")
    for name, value in limits.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value < 0 or (name != "reports_per_second" and value != int(value)):
            raise ValueError(f"{name} of {project!r} is {value!r}: give 0 for no limit, or more")
    return Quota(**limits)


def _exceeded(project: str, said: str, retry_seconds: float | None) -> ResourceExhausted:
    subject = f"projects/{project}"
    return ResourceExhausted(
        f"{subject}: the quota {said}",
        reason="QUOTA_EXCEEDED",
        retry_seconds=retry_seconds,
        quota=QuotaViolation(subject, said),
    )
