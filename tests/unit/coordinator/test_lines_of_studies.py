"""The suggestions searched ahead for driven studies: a line each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.hot.lines import Lines
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.driven_storage import ClaimedStudy
from hydro.coordinator.study import Goal, Objective, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import Hyperparameters

SPACE = SearchSpace((Parameter("lr", FloatDomain(0.0, 1.0)),))
SPEC = StudySpec(None, SPACE, Objective("loss", Goal.MINIMIZE), Sampler.TPE, NoPruning(), 0, 1.0, 10, 10, 3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Halves:
    """A search that always says the same."""

    async def ask(self, request: SearchRequest) -> Sequence[Hyperparameters]:
        return [{"lr": 0.5}] * request.count


def driven(name: str) -> HotStudy:
    study = Study(StudyName("p", name), SPEC, StudyState.SEARCHING, "", (), None, None, 1, 1, name, 0, NOW, None)
    return HotStudy(ClaimedStudy(study, 1, [], []))


async def test_studies_that_begin_at_once_drop_the_lines_of_ended_ones_once():
    lines, ended = Lines(Halves()), [driven("a"), driven("b")]
    for each in ended:
        await lines.take(each, 1)
    for each in ended:
        each.closed = True
    taken = await asyncio.gather(*(lines.take(driven(name), 1) for name in ("c", "d", "e")))
    assert [each.hyperparameters for (each,) in taken] == [{"lr": 0.5}] * 3
    await lines.close()
