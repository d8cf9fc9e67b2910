"""Gaussian processes: what takes seconds for each suggestion, in the real search process."""

import psutil
import pytest

from hydro.coordinator.search.conformance import SearchBackendConformance, request
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.search_space import CategoricalDomain, Condition, FloatDomain, Parameter, SearchSpace
from hydro.coordinator.search_space import validate_hyperparameters as violations
from hydro.coordinator.study import Sampler

CONDITIONAL = SearchSpace(
    (
        Parameter("optimizer", CategoricalDomain(("sgd", "adam"))),
        Parameter("momentum", FloatDomain(0.0, 1.0), (Condition("optimizer", ("sgd",)),)),
    )
)


def history_of(count):
    """Trials that are best with much momentum."""
    points = [{"optimizer": "sgd", "momentum": (place % 10) / 10} for place in range(count - 3)]
    points += [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.05}]
    values = [1 - each.get("momentum", 0.0) for each in points]
    return tuple(
        KnownTrial(number, point, Outcome.SUCCEEDED, value, 1)
        for number, (point, value) in enumerate(zip(points, values, strict=True))
    )


async def test_a_gaussian_process_learns_under_conditions_and_gives_the_same_again():
    process = SearchProcess()
    history = history_of(14)
    asked = request(sampler=Sampler.GP, space=CONDITIONAL, history=history, count=2, first_index=len(history))
    found = await process.ask(asked)
    assert [violations(CONDITIONAL, each) for each in found] == [[], []]
    assert max(each.get("momentum", 0.0) for each in found) > 0.85
    assert found[0] != found[1]
    assert await process.ask(asked) == found
    # The coordinator itself has no torch, and what the search process needs with it stays bearable.
    assert psutil.Process(process.process_id).memory_info().rss < 2**30
    await process.close()


class Laws(SearchBackendConformance):
    """On histories as short as a Gaussian process is fitted to."""

    samplers = (Sampler.GP,)
    trials = 30
    rated = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        Laws.test_suggestions_have_exactly_the_active_parameters_each_in_its_domain,
        Laws.test_one_ask_for_two_gives_what_two_asks_give,
        Laws.test_every_point_of_a_small_space_is_suggested_before_any_comes_again,
        Laws.test_the_same_request_gives_the_same_answer,
        Laws.test_the_order_of_the_history_does_not_matter,
        Laws.test_asks_in_parallel_differ,
        Laws.test_every_objective_counts_or_the_first_one_alone,
    ],
)
async def test_a_gaussian_process_keeps_the_laws(law):
    await law(Laws(), OptunaBackend())
