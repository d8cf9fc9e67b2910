"""What `hydro study show` prints of a study: what its user chose, and how it goes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rich.markup import escape

from hydro.client.command.output import coloured, pairs, say, short
from hydro.client.objectives import Constraint
from hydro.client.pruning import NoPruning
from hydro.client.snapshots import StudySettings, StudySnapshot
from hydro.client.spaces import CategoricalDomain, ConstantDomain, Domain, FloatDomain, IntDomain
from hydro.client.stopping import Stopping
from hydro.client.trials import Trial

Line = tuple[str, str]


def print_study(study: StudySnapshot, best: Sequence[Trial]) -> None:
    """Prints the study, with its best trials."""
    say(f"[bold]{study.name.study}[/]  {coloured(study.state)}  {escape(study.state_reason)}")
    for name, text in (*_progress(study), *_settings(study), *_warnings(study), *_best(study, best)):
        say(f"{name:9}{text}")


def counts(study: StudySnapshot) -> str:
    """Its trials by state."""
    states = study.statistics.trials_by_state
    shown = "  ".join(f"{state.lower()} {count}" for state, count in sorted(states.items()) if count)
    return f"{shown}  of {study.settings.max_trials}"


def work(study: StudySnapshot) -> str:
    """What its trials run: its task or its program."""
    settings = study.settings
    return settings.entry_point or (escape(" ".join(settings.command.arguments)[:60]) if settings.command else "-")


def _progress(study: StudySnapshot) -> Iterator[Line]:
    statistics = study.statistics
    yield "trials", f"{counts(study)}, {study.settings.parallelism} at once"
    yield "bundles", f"{statistics.bundles}, at most {statistics.max_fusion_count} lanes in one"
    yield "steps", f"{statistics.trial_steps}, {statistics.slot_trial_steps} of them on slots"
    yield "devices", f"{statistics.device_seconds:.1f} s"


def _settings(study: StudySnapshot) -> Iterator[Line]:
    settings = study.settings
    yield "task", work(study)
    yield from _named("space", (f"{escape(name)} {_domain(each)}" for name, each in settings.search_space.items()))
    yield from _named("goal", (f"{each.goal.value} {escape(each.metric)}" for each in settings.objectives))
    yield from _named("within", map(_constraint, settings.constraints))
    yield from _named("prior", (f"{escape(each.study)}, weight {each.weight:g}" for each in settings.priors))
    if settings.known_points:
        yield "points", f"{len(settings.known_points)} known, tried first"
    yield "sampler", escape(f"{settings.sampler}: {study.sampler_reason}" if study.sampler_reason else settings.sampler)
    yield "seed", str(settings.seed)
    if settings.population is not None:
        yield "trains", _described(settings.population)
    else:
        yield "pruner", "none" if settings.pruner == NoPruning(0, 0) else _described(settings.pruner)
    if settings.entry_point:
        yield "width", f"{settings.surrogate.width:g}, depth {settings.surrogate.depth:g}"
    yield from _named("ends", _ends(settings.stopping))
    yield "retries", _endurance(settings)
    if settings.trial_timeout_seconds:
        yield "timeout", f"{settings.trial_timeout_seconds:g} s without a word of its caller: a trial is another's"
    if study.tags:
        yield "tags", pairs(dict(sorted(study.tags.items())))


def _named(name: str, texts: Iterable[str]) -> Iterator[Line]:
    for index, text in enumerate(texts):
        yield ("" if index else name), text


def _warnings(study: StudySnapshot) -> Iterator[Line]:
    for each in study.warnings:
        yield "[yellow]warning[/]  ", escape(each)


def _best(study: StudySnapshot, trials: Sequence[Trial]) -> Iterator[Line]:
    names = [each.metric for each in study.settings.objectives]
    for trial in trials:
        beyond = "  [red]beyond a constraint[/]" if trial.feasible is False else ""
        yield "best", f"trial {trial.number}: {pairs(dict(zip(names, trial.values, strict=False)))}{beyond}"
        yield "", pairs(trial.hyperparameters)


def _described(chosen: Any) -> str:
    """A rule by its name, with its settings; a rule inside stands in brackets."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(chosen).__name__).lower()
    given = {each.name: getattr(chosen, each.name) for each in fields(chosen)}
    shown = {key: f"({_described(value)})" if is_dataclass(value) else value for key, value in given.items()}
    return f"{name}  {pairs({key: value for key, value in shown.items() if value is not None})}"


def _domain(domain: Domain) -> str:
    conditions = "".join(f", where {escape(each.parent)} is {_one_of(each.values)}" for each in domain.conditions)
    return f"{_values(domain)}{conditions}{'' if domain.transfer else ', does not transfer'}"


def _values(domain: Domain) -> str:
    match domain:
        case FloatDomain(min=low, max=high, log=log, step=step) | IntDomain(min=low, max=high, log=log, step=step):
            kind = "a number" if isinstance(domain, FloatDomain) else "a whole number"
            steps = f" in steps of {short(step)}" if step not in (0, 1) and not log else ""
            return f"{kind} from {short(low)} to {short(high)}{' by its logarithm' if log else ''}{steps}"
        case CategoricalDomain(values=values):
            return f"one of {_one_of(values)}"
        case ConstantDomain(value=value):
            return short(value)
    raise TypeError(f"{domain!r} is no domain")


def _one_of(values: Iterable[object]) -> str:
    return ", ".join(map(short, values))


def _constraint(constraint: Constraint) -> str:
    low = f"{constraint.min:g} <= " if math.isfinite(constraint.min) else ""
    high = f" <= {constraint.max:g}" if math.isfinite(constraint.max) else ""
    return f"{low}{escape(constraint.metric)}{high}"


def _ends(stopping: Stopping) -> Iterator[str]:
    if stopping.target_value is not None:
        yield f"at the value {stopping.target_value:g}"
    if stopping.max_duration_seconds:
        yield f"after {stopping.max_duration_seconds:g} s of search"
    if stopping.max_trials_without_improvement:
        yield f"after {stopping.max_trials_without_improvement} trials without improvement"


def _endurance(settings: StudySettings) -> str:
    retries = "as the service thinks right" if settings.retries is None else f"{settings.retries}"
    budget = f", fails with {settings.failure_budget} failed trials" if settings.failure_budget else ""
    return f"{retries}{budget}"
