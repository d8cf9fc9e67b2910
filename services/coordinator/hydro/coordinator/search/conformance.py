# ruff: noqa: D102  the name of a test is its sentence
"""The laws of the search port as tests: a backend's own tests subclass the suite and give the fixture `backend`.

    class TestMyBackend(SearchBackendConformance):
        @pytest.fixture
        def backend(self):
            return MyBackend()

Its tests are coroutines: run them with pytest-asyncio.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from statistics import median

from hydro.coordinator.search.random_backend import RandomBackend
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
    validate_hyperparameters,
)
from hydro.coordinator.study import Goal, Sampler

SPACE = SearchSpace(
    (
        Parameter("beta", FloatDomain(0.1, 1.0, step=0.3), (Condition("optimizer", ("adam",)),)),
        Parameter("optimizer", CategoricalDomain(("sgd", "adam"))),
        Parameter("lr", FloatDomain(1e-4, 1.0, log=True)),
        Parameter("momentum", FloatDomain(0.5, 0.99), (Condition("optimizer", ("sgd",)),)),
        Parameter("nesterov", CategoricalDomain((True, False)), (Condition("optimizer", ("sgd",)),)),
        Parameter("damping", FloatDomain(0.0, 0.5), (Condition("nesterov", (False,)),)),
        Parameter("layers", IntDomain(2, 9, step=3)),
        Parameter("width", IntDomain(8, 512, log=True)),
        Parameter("mixed", CategoricalDomain((1, True, "1", 0.5))),
        Parameter("fixed", FloatDomain(0.25, 0.25)),
        Parameter("epochs", ConstantDomain(10)),
    )
)
"""Every kind of domain, nested conditions, a child before its parent, and choices that are equal in Python alone."""

SMALL = SearchSpace(
    (
        Parameter("kind", CategoricalDomain(("plain", "deep"))),
        Parameter("depth", IntDomain(1, 5, step=2), (Condition("kind", ("deep",)),)),
        Parameter("bias", CategoricalDomain((True, False))),
        Parameter("rate", FloatDomain(0.1, 0.1)),
    )
)
SMALL_POINTS = 8
"""Two plain ones, six deep ones."""

RATE_BOUND = 1e-2
"""The middle of lr's domain."""


def request(**changes: object) -> SearchRequest:
    """A request for one random suggestion of SPACE, with changes."""
    plain = SearchRequest(Sampler.RANDOM, SPACE, Goal.MINIMIZE, history=(), count=1, seed=0, first_index=0)
    return replace(plain, **changes)  # type: ignore[arg-type]


class SearchBackendConformance:
    """Laws of SearchBackend, for each of `samplers`; of a backend by entry point, for its `external_sampler`."""

    samplers: tuple[Sampler, ...] = (
        Sampler.RANDOM,
        Sampler.QUASI_RANDOM,
        Sampler.TPE,
        Sampler.GP,
        Sampler.CMA_ES,
        Sampler.NSGA2,
    )
    learning: tuple[Sampler, ...] = (Sampler.TPE, Sampler.GP, Sampler.CMA_ES, Sampler.NSGA2, Sampler.EXTERNAL)
    """Those whose suggestions come closer to what was good."""
    several_objectives: tuple[Sampler, ...] = (Sampler.TPE, Sampler.GP, Sampler.NSGA2)
    """Those that go by every objective; the others go by the first alone. A backend that does adds EXTERNAL."""
    one_objective: tuple[Sampler, ...] = (Sampler.CMA_ES,)
    """Those that no study with several objectives is searched by."""
    constrained: tuple[Sampler, ...] = (Sampler.TPE, Sampler.GP, Sampler.NSGA2)
    """Those that keep away from what violates a constraint; the others do not see them. As above."""
    external_sampler = ""
    trials = 40
    """Of the history that most laws are held against."""
    rated = 7
    """Suggestions that tell where a model looks."""

    def request(self, sampler: Sampler, **changes: object) -> SearchRequest:
        """A request with changes."""
        return request(sampler=sampler, external_sampler=self.external_sampler, **changes)

    async def history(self, count: int) -> tuple[KnownTrial, ...]:
        """Random trials with every outcome; a smaller lr is better."""
        suggestions = await RandomBackend().ask(request(count=count, seed=99))
        outcomes = itertools.cycle((Outcome.SUCCEEDED, Outcome.PRUNED, Outcome.SUCCEEDED, Outcome.OPEN, Outcome.FAILED))
        return tuple(
            KnownTrial(
                number,
                hyperparameters,
                outcome,
                float(hyperparameters["lr"]) if outcome in (Outcome.SUCCEEDED, Outcome.PRUNED) else None,
                100 if outcome is Outcome.SUCCEEDED else 25,
            )
            for number, (hyperparameters, outcome) in enumerate(zip(suggestions, outcomes, strict=False))
        )

    async def succeeded(self, count: int) -> tuple[KnownTrial, ...]:
        """Random trials, all of them trained to the end, whose value is their lr."""
        suggestions = await RandomBackend().ask(request(count=count, seed=99))
        return tuple(
            KnownTrial(number, each, Outcome.SUCCEEDED, float(each["lr"]), 100)
            for number, each in enumerate(suggestions)
        )

    async def rates(self, backend: SearchBackend, asked: SearchRequest) -> list[float]:
        """The lr of some suggestions."""
        suggestions = await backend.ask(replace(asked, count=self.rated, first_index=len(asked.history)))
        return [float(each["lr"]) for each in suggestions]

    async def test_gives_as_many_suggestions_as_asked_for(self, backend: SearchBackend) -> None:
        for sampler in self.samplers:
            for count in (1, 7):
                assert len(await backend.ask(self.request(sampler, count=count))) == count

    async def test_suggestions_have_exactly_the_active_parameters_each_in_its_domain(
        self, backend: SearchBackend
    ) -> None:
        history = await self.history(self.trials)
        for sampler in self.samplers:
            for known in ((), history):
                asked = self.request(sampler, history=known, count=9, first_index=len(known))
                for suggestion in await backend.ask(asked):
                    assert validate_hyperparameters(SPACE, suggestion) == []

    async def test_values_keep_their_types(self, backend: SearchBackend) -> None:
        allowed = {(type(value), value) for value in (1, True, "1", 0.5)}
        for sampler in self.samplers:
            for suggestion in await backend.ask(self.request(sampler, count=9)):
                assert type(suggestion["lr"]) is float
                assert type(suggestion["layers"]) is int
                assert (type(suggestion["mixed"]), suggestion["mixed"]) in allowed

    async def test_the_same_request_gives_the_same_answer(self, backend: SearchBackend) -> None:
        history = await self.history(self.trials)
        for sampler in self.samplers:
            asked = self.request(sampler, history=history, count=4, seed=5, first_index=self.trials)
            assert await backend.ask(asked) == await backend.ask(asked)

    async def test_the_order_of_the_history_does_not_matter(self, backend: SearchBackend) -> None:
        history = await self.history(self.trials)
        for sampler in self.samplers:
            asked = self.request(sampler, history=history, count=2, first_index=self.trials)
            assert await backend.ask(asked) == await backend.ask(replace(asked, history=history[::-1]))

    async def test_seeds_and_indices_differ_in_what_they_give(self, backend: SearchBackend) -> None:
        for sampler in self.samplers:
            # From a long history a Gaussian process gives the one best point, whatever the seed.
            known = 0 if sampler is Sampler.GP else self.trials
            history = await self.history(known)
            asked = [
                self.request(sampler, history=history, seed=seed, first_index=known + index)
                for seed in range(2)
                for index in range(3)
            ]
            suggested = [str((await backend.ask(each))[0]) for each in asked]
            assert len(set(suggested)) == len(suggested)

    async def test_asks_in_parallel_differ(self, backend: SearchBackend) -> None:
        history = await self.history(self.trials)
        for sampler in self.samplers:
            suggested = await backend.ask(self.request(sampler, history=history, count=4, first_index=self.trials))
            assert len({str(each) for each in suggested}) == 4

    async def test_every_point_of_a_small_space_is_suggested_before_any_comes_again(
        self, backend: SearchBackend
    ) -> None:
        for sampler in {*self.samplers, Sampler.GRID} if Sampler.RANDOM in self.samplers else self.samplers:
            history: tuple[KnownTrial, ...] = ()
            for count in (5, 2, 1):
                first = len(history)
                asked = self.request(sampler, space=SMALL, history=history, count=count, first_index=first)
                for number, point in enumerate(await backend.ask(asked), first):
                    assert validate_hyperparameters(SMALL, point) == []
                    history += (KnownTrial(number, point, Outcome.SUCCEEDED, float(number), 1),)
            assert len({str(sorted(each.hyperparameters.items())) for each in history}) == SMALL_POINTS

    async def test_one_ask_for_two_gives_what_two_asks_give(self, backend: SearchBackend) -> None:
        history = await self.history(self.trials)
        for sampler in self.samplers:
            asked = self.request(sampler, history=history, count=1, first_index=self.trials)
            (first,) = await backend.ask(asked)
            longer = (*history, KnownTrial(self.trials, first, Outcome.OPEN))
            (second,) = await backend.ask(replace(asked, history=longer, first_index=self.trials + 1))
            assert await backend.ask(replace(asked, count=2)) == [first, second]

    async def test_a_model_learns_from_pruned_and_finished_trials(self, backend: SearchBackend) -> None:
        history = await self.history(100)
        for sampler in set(self.samplers).intersection(self.learning):
            found: dict[Goal, list[float]] = {}
            for goal in Goal:
                asked = self.request(sampler, history=history, goal=goal, count=9, first_index=100)
                found[goal] = sorted(float(each["lr"]) for each in await backend.ask(asked))
            assert found[Goal.MINIMIZE][4] < found[Goal.MAXIMIZE][4]

    async def test_a_study_that_goes_on_gets_what_a_new_one_with_its_history_gets(self, backend: SearchBackend) -> None:
        history = await self.history(60)
        longer = tuple(
            replace(known, outcome=Outcome.SUCCEEDED, value=0.5, steps=100) if known.outcome is Outcome.OPEN else known
            for known in history
        )
        for sampler in self.samplers:
            asked = self.request(sampler, count=3, first_index=60)
            for known in (history[:20], history[:40], history[:40], history, longer):
                going_on = replace(asked, history=known, study=f"study-{sampler.value}")
                assert await backend.ask(going_on) == await backend.ask(replace(asked, history=known))

    async def test_a_history_of_other_spaces_is_no_obstacle(self, backend: SearchBackend) -> None:
        alien = KnownTrial(0, {"lr": 1e9, "gone": 3, "mixed": "other"}, Outcome.SUCCEEDED, 1.0, 10)
        unmeasured = KnownTrial(1, {"lr": 0.1}, Outcome.PRUNED)
        for sampler in self.samplers:
            asked = self.request(sampler, history=(alien, unmeasured) * 10, count=2)
            assert len(await backend.ask(asked)) == 2

    async def test_further_objectives_and_constraints_change_no_law(self, backend: SearchBackend) -> None:
        known = await self.history(self.trials)
        for sampler in self.samplers:
            further = () if sampler in self.one_objective else (Goal.MAXIMIZE,)
            history = tuple(_judged(each, len(further)) for each in known)
            asked = self.request(sampler, history=history, further_goals=further, count=3, first_index=self.trials)
            suggestions = await backend.ask(asked)
            assert [validate_hyperparameters(SPACE, each) for each in suggestions] == [[]] * 3
            assert await backend.ask(replace(asked, history=history[::-1])) == suggestions

    async def test_every_objective_counts_or_the_first_one_alone(self, backend: SearchBackend) -> None:
        known = await self.succeeded(self.trials)
        history = tuple(
            replace(each, value=float(each.hyperparameters["layers"]), further_values=(each.value or 0.0,))
            for each in known
        )
        for sampler in set(self.samplers).difference(self.one_objective):
            low, high = [
                await self.rates(backend, self.request(sampler, history=history, further_goals=(goal,)))
                for goal in (Goal.MINIMIZE, Goal.MAXIMIZE)
            ]
            assert median(low) < median(high) if sampler in self.several_objectives else low == high

    async def test_what_violates_a_constraint_is_kept_away_from_or_not_seen(self, backend: SearchBackend) -> None:
        free = await self.succeeded(self.trials)
        bound = tuple(replace(each, violations={"lr": math.log10((each.value or 0.0) / RATE_BOUND)}) for each in free)
        for sampler in self.samplers:
            asked = self.request(sampler, goal=Goal.MAXIMIZE)
            low, high = [await self.rates(backend, replace(asked, history=each)) for each in (bound, free)]
            assert median(low) < median(high) if sampler in self.constrained else low == high


def _judged(known: KnownTrial, further: int) -> KnownTrial:
    """The trial with further objectives, and with a constraint that some trials violate."""
    violations = {} if known.value is None else {"width": float(known.hyperparameters["width"]) - 64}
    values = (float(known.hyperparameters["layers"]),) * further if known.outcome is Outcome.SUCCEEDED else ()
    return replace(known, further_values=values, violations=violations)
