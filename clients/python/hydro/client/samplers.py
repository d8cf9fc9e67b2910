"""The samplers of the contract by the names that users give them."""

from __future__ import annotations

from hydro.api.coordinator.v1 import study_pb2

_NUMBERS = {
    "auto": study_pb2.SAMPLER_AUTO,
    "cmaes": study_pb2.SAMPLER_CMA_ES,
    "gp": study_pb2.SAMPLER_GP,
    "grid": study_pb2.SAMPLER_GRID,
    "nsga2": study_pb2.SAMPLER_NSGA2,
    "random": study_pb2.SAMPLER_RANDOM,
    "sobol": study_pb2.SAMPLER_QUASI_RANDOM,
    "tpe": study_pb2.SAMPLER_TPE,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}


def set_sampler(message: study_pb2.Study, name: str) -> None:
    """Writes the sampler of a name into a study.

    Any name that is not the contract's is that of a search backend where the coordinator runs, which knows it or not.
    """
    if name in _NUMBERS:
        message.sampler = _NUMBERS[name]
    else:
        message.external_sampler = name


def sampler_name(message: study_pb2.Study) -> str:
    """The name of a study's sampler."""
    return message.external_sampler or _NAMES.get(message.sampler, "")
