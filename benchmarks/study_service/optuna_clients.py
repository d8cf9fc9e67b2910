"""Clients of Optuna: a process each, on RDBStorage or on GrpcStorageProxy."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from benchmarks.study_service.workload import STARTUP_TRIALS, Space


def silence() -> None:
    """Optuna's own progress and its warnings about what is experimental are no part of the work."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")


class OptunaClient:
    """`optuna.Study` with the random sampler and the median pruner."""

    def __init__(self, storage: optuna.storages.BaseStorage, study: str, space: Space, seed: int) -> None:
        self._space = distributions(space)
        self._study = optuna.load_study(
            study_name=study,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        )
        self._trial: optuna.Trial | None = None

    async def ask(self) -> None:
        """Study.ask with every parameter suggested."""
        self._trial = self._study.ask(self._space)

    async def report(self, step: int, value: float) -> bool:
        """Trial.report and Trial.should_prune."""
        assert self._trial is not None
        self._trial.report(value, step)
        return bool(self._trial.should_prune())

    async def tell(self, value: float) -> None:
        """Study.tell."""
        assert self._trial is not None
        self._study.tell(self._trial, value)


def rdb_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage as `optuna.load_study(storage=url)` makes it: with a cache of ended trials."""
    return optuna.storages.get_storage(url)


def proxy_storage(address: str) -> optuna.storages.BaseStorage:
    """The storage of a client of `serve_proxy`."""
    host, _, port = address.rpartition(":")
    return optuna.storages.GrpcStorageProxy(host=host, port=int(port))


def create_study(url: str, study: str) -> None:
    """Creates an empty study."""
    silence()
    optuna.create_study(study_name=study, storage=url, direction="minimize")


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms."""
    return {name: _distribution(kind, content) for name, (kind, content) in space.items()}


def _distribution(kind: str, content: tuple[Any, ...]) -> BaseDistribution:
    if kind == "choice":
        return CategoricalDistribution(content)
    low, high = content
    return IntDistribution(low, high) if kind == "int" else FloatDistribution(low, high, log=kind == "log_float")
