"""Search by Optuna, in memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.samplers import BaseSampler, TPESampler

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.optuna_codec import Codec
from hydro.coordinator.search.optuna_history import OptunaHistory
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search_space import ConstantDomain, SearchSpace
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value


class OptunaBackend:
    """Optuna's samplers. A request blocks its process while it computes, so that process should be one of its own."""

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        history = OptunaHistory(request.space, request.goal, request.further_goals)
        history.learn(request.history)
        return suggest(request, history)


def suggest(request: SearchRequest, history: OptunaHistory) -> list[dict[str, Value]]:
    """Gives `request.count` suggestions from a history; the request's own is not looked at."""
    study = history.study()
    suggestions = []
    for index in range(request.first_index, request.first_index + request.count):
        study.sampler = _sampler(request.sampler, ask_seed(request.seed, index))
        suggestions.append(_suggest_one(study.ask(), request.space, history.codecs))
    return suggestions


def _suggest_one(trial: optuna.Trial, space: SearchSpace, codecs: Mapping[str, Codec]) -> dict[str, Value]:
    """Fills a trial from the parents down, so that it has only active parameters; its keys are in the space's order."""
    values: dict[str, Value] = {}
    for parameter in space.ordered():
        if not parameter.is_active(values):
            continue
        if isinstance(parameter.domain, ConstantDomain):
            values[parameter.name] = parameter.domain.value
        else:
            values[parameter.name] = codecs[parameter.name].draw(trial, parameter.name)
    return {each.name: values[each.name] for each in space.parameters if each.name in values}


def _sampler(sampler: Sampler, seed: int) -> BaseSampler:
    if sampler is not Sampler.TPE:
        raise ValueError(f"{sampler} is not one of Optuna's samplers here: RandomBackend draws at random")
    with warnings.catch_warnings():  # `group` has been called experimental since 2021
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
