"""Which trials a list has, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement

from hydro.coordinator.storage import schema
from hydro.coordinator.storage.trial_values import Place, TrialOrder, TrialQuery

_TRIAL = schema.trial
_VALUE, _NUMBER = _TRIAL.c.value, _TRIAL.c.number
ORDERS: Mapping[TrialOrder, tuple[ColumnElement[Any], ...]] = {
    TrialOrder.NUMBER: (_NUMBER,),
    TrialOrder.NUMBER_DESCENDING: (_NUMBER.desc(),),
    TrialOrder.VALUE_ASCENDING: (_VALUE.asc().nulls_last(), _NUMBER),
    TrialOrder.VALUE_DESCENDING: (_VALUE.desc().nulls_last(), _NUMBER),
}


def conditions(query: TrialQuery) -> list[ColumnElement[bool]]:
    """What a trial is to be."""
    found = []
    if query.kind is not None:
        found.append(_TRIAL.c.kind == query.kind.value)
    if query.states:
        found.append(_TRIAL.c.state.in_([state.value for state in query.states]))
    if query.tags:
        found.append(_TRIAL.c.tags.contains(dict(query.tags)))
    if query.after is not None:
        found.append(_is_behind(query.after, query.order))
    return found


def _is_behind(place: Place, order: TrialOrder) -> ColumnElement[bool]:
    number, value = _TRIAL.c.number, _TRIAL.c.value
    follows: ColumnElement[bool] = number > place.number
    match order:
        case TrialOrder.NUMBER:
            return follows
        case TrialOrder.NUMBER_DESCENDING:
            return number < place.number
    if place.value is None:
        return value.is_(None) & follows
    is_worse: ColumnElement[bool] = value < place.value
    if order is TrialOrder.VALUE_ASCENDING:
        is_worse = value > place.value
    is_equal: ColumnElement[bool] = value == place.value
    return is_worse | value.is_(None) | (is_equal & follows)
