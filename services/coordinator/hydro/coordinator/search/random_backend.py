"""Random search: every suggestion is drawn by itself, whatever is known of others."""

from __future__ import annotations

from random import Random

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search.unit_cube import count_of, fill, value_at
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value


class RandomBackend:
    """Uniform draws, over logarithms where a domain says so. Takes microseconds: it needs no process of its own.

    It does not look at the history: in a space of so few points that two draws may be alike, the search process does.
    """

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        indices = range(request.first_index, request.first_index + request.count)
        return [draw(request.space, Random(ask_seed(request.seed, index))) for index in indices]


def needs_no_history(sampler: Sampler, space: SearchSpace) -> bool:
    """Whether what is known of trials makes no difference: random draws from a continuum are never alike."""
    return sampler is Sampler.RANDOM and any(
        count_of(each.domain) is None and not each.conditions for each in space.parameters
    )


def draw(space: SearchSpace, random: Random) -> dict[str, Value]:
    """One value for each active parameter; its keys are in the space's order."""
    return fill(space, lambda _, domain: value_at(domain, random.random()))
