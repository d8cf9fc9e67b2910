"""Search spaces in a study's file.

::

    lr: {loguniform: [1e-3, 1]}
    momentum: {uniform: [0.5, 0.99], when: {optimizer: [sgd]}}
    layers: {integer: [2, 8], step: 2}
    dropout: {uniform: [0, 0.5], transfer: false}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydro.client.file_mappings import mapping, one_of
from hydro.client.spaces import Condition, Domain, choice, constant, integer, logint, loguniform, uniform
from hydro.kit.errors import FieldViolation, InvalidArgument


@dataclass(frozen=True, slots=True)
class FileDomain:
    """A kind of domain: how it is written, and the function that makes one of what `values` reads."""

    form: str
    make: Callable[..., Domain]
    values: Callable[[Any], tuple[Any, ...]]
    has_step: bool = False


def _numbers(given: Any) -> tuple[Any, ...]:
    # YAML reads 1e-3, without a point, as text.
    low, high = (float(each) for each in given)
    return low, high


def _whole_numbers(given: Any) -> tuple[Any, ...]:
    low, high = (whole_number(each) for each in given)
    return low, high


def whole_number(given: Any) -> int:
    """What is a whole number.

    Raises:
        ValueError: it is none.
    """
    if not float(given).is_integer():
        raise ValueError(f"{given!r} is no whole number")
    return given if isinstance(given, int) else int(float(given))


DOMAINS: Mapping[str, FileDomain] = {
    "uniform": FileDomain("`[low, high]`", uniform, _numbers, has_step=True),
    "loguniform": FileDomain("`[low, high]`", loguniform, _numbers),
    "integer": FileDomain("`[low, high]`", integer, _whole_numbers, has_step=True),
    "logint": FileDomain("`[low, high]`", logint, _whole_numbers),
    "choice": FileDomain("`[value, ...]`", choice, lambda given: (list(given),)),
    "constant": FileDomain("`value`", constant, lambda given: (given,)),
}


def read_space(given: Any) -> dict[str, Domain]:
    """The space that a mapping of names to domains describes.

    Raises:
        InvalidArgument: names the wrong field.
    """
    return {name: _domain(name, each) for name, each in mapping(given, "search_space").items()}


def _domain(name: str, given: Any) -> Domain:
    field = f"search_space.{name}"
    content = dict(mapping(given, field))
    transfer, conditions = content.pop("transfer", True), content.pop("when", {})
    step = content.pop("step", None)

    def made(kind: FileDomain, values: Any) -> Domain:
        return kind.make(*kind.values(values), **_step(kind, step, field))

    built: Domain = one_of(DOMAINS, content, field, made)
    added = tuple(_condition(parent, each, field) for parent, each in mapping(conditions, f"{field}.when").items())
    return replace(built, transfer=bool(transfer), conditions=added)


def _step(kind: FileDomain, step: Any, field: str) -> dict[str, Any]:
    if step is None:
        return {}
    if not kind.has_step:
        having = " and ".join(name for name, each in DOMAINS.items() if each.has_step)
        raise InvalidArgument.of([FieldViolation(f"{field}.step", f"is {step!r}: only {having} have one")])
    try:
        return {"step": whole_number(step) if kind.make is integer else float(step)}
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of([FieldViolation(f"{field}.step", f"is {step!r}: {error}")]) from error


def _condition(parent: str, given: Any, field: str) -> Condition:
    if not isinstance(given, list):
        raise InvalidArgument.of([FieldViolation(f"{field}.when.{parent}", f"is {given!r}: give a list of values")])
    return Condition(str(parent), tuple(given))
