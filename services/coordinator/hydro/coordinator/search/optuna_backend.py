"""Search by Optuna, in memory, rebuilt from the history at each request."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from typing import assert_never

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hydro.coordinator.search.optuna_codec import Codec, codec_of
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search_space import ConstantDomain, SearchSpace
from hydro.coordinator.study import Goal, Sampler
from hydro.coordinator.trial import Value

_STATES = {
    Outcome.OPEN: TrialState.RUNNING,
    Outcome.SUCCEEDED: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}


class OptunaBackend:
    """Optuna's samplers. A request blocks its process while it computes, so that process should be one of its own."""

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        return suggest(request)


def suggest(request: SearchRequest) -> list[dict[str, Value]]:
    """Gives `request.count` suggestions."""
    codecs = {each.name: codec for each in request.space.parameters if (codec := codec_of(each)) is not None}
    study = _rebuild(request, codecs)
    suggestions = []
    for index in range(request.first_index, request.first_index + request.count):
        study.sampler = _sampler(request.sampler, _seed(request.seed, index))
        suggestions.append(_suggest_one(study.ask(), request.space, codecs))
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


def _seed(study_seed: int, index: int) -> int:
    """A seed of 32 bits for one ask: neighbouring asks and studies get unrelated ones."""
    return int.from_bytes(hashlib.sha256(f"{study_seed}/{index}".encode()).digest()[:4])


def _sampler(sampler: Sampler, seed: int) -> BaseSampler:
    match sampler:
        case Sampler.RANDOM:
            return RandomSampler(seed)
        case Sampler.TPE:
            with warnings.catch_warnings():  # `group` has been called experimental since 2021
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        case _:
            assert_never(sampler)


def _rebuild(request: SearchRequest, codecs: Mapping[str, Codec]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = StudyDirection.MINIMIZE if request.goal is Goal.MINIMIZE else StudyDirection.MAXIMIZE
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction=direction)
    study.add_trials(_frozen_trials(request, codecs))
    return study


def _frozen_trials(request: SearchRequest, codecs: Mapping[str, Codec]) -> Iterator[FrozenTrial]:
    domains = {each.name: each.domain for each in request.space.parameters}
    for known in sorted(request.history, key=lambda trial: trial.number):
        searched = {
            name: value
            for name, value in known.hyperparameters.items()
            if name in codecs and domains[name].contains(value)
        }
        yield optuna.trial.create_trial(
            state=_STATES[_usable_outcome(known)],
            value=known.value if known.outcome is Outcome.SUCCEEDED else None,
            params={name: codecs[name].encode(value) for name, value in searched.items()},
            distributions={name: codecs[name].distribution for name in searched},
            intermediate_values={} if known.value is None else {known.steps: known.value},
        )


def _usable_outcome(known: KnownTrial) -> Outcome:
    """A pruned trial that was never measured teaches as little as a failed one."""
    return Outcome.FAILED if known.value is None and known.outcome is not Outcome.OPEN else known.outcome
