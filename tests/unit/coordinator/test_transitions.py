"""Every state against every step, for every resource."""

from __future__ import annotations

import itertools

import pytest

from hydro.coordinator import bundle, device, lease, study, surrogate, trial
from hydro.coordinator.bundle import BundleState
from hydro.coordinator.device import DeviceState
from hydro.coordinator.lease import LeaseState
from hydro.coordinator.study import StudyState
from hydro.coordinator.surrogate import SurrogateState
from hydro.coordinator.transition import reachable
from hydro.coordinator.trial import TrialState

S, T, B, L, D, U = StudyState, TrialState, BundleState, LeaseState, DeviceState, SurrogateState

REACHABLE = {
    S.PREPARING: {S.SEARCHING, S.FAILED, S.CANCELLED},
    S.SEARCHING: {S.PAUSED, S.SUCCEEDED, S.FAILED, S.CANCELLED},
    S.PAUSED: {S.SEARCHING, S.FAILED, S.CANCELLED},
    S.SUCCEEDED: set(),
    S.FAILED: set(),
    S.CANCELLED: set(),
    T.PENDING: {T.RUNNING, T.FAILED, T.CANCELLED},
    T.RUNNING: {T.PAUSED, T.PENDING, T.SUCCEEDED, T.PRUNED, T.FAILED, T.CANCELLED},
    T.PAUSED: {T.PENDING, T.PRUNED, T.CANCELLED},
    T.SUCCEEDED: set(),
    T.PRUNED: set(),
    T.FAILED: set(),
    T.CANCELLED: set(),
    B.ALLOCATED: {B.RUNNING, B.ENDED},
    B.RUNNING: {B.ENDED},
    B.ENDED: set(),
    L.ACTIVE: {L.RELEASED, L.EXPIRED},
    L.RELEASED: set(),
    L.EXPIRED: set(),
    D.READY: {D.DRAINING, D.GONE},
    D.DRAINING: {D.READY, D.GONE},
    D.GONE: {D.READY},
    U.BUILDING: {U.READY, U.FAILED},
    U.READY: set(),
    U.FAILED: set(),
}
TABLES = {S: study, T: trial, B: bundle, L: lease, D: device, U: surrogate}


@pytest.mark.parametrize("state", REACHABLE, ids=str)
def test_a_state_leads_where_its_table_says_and_nowhere_else(state):
    assert reachable(TABLES[type(state)].TRANSITIONS, state) == REACHABLE[state]


def test_every_state_is_in_the_table():
    assert set(REACHABLE) == set(itertools.chain.from_iterable(TABLES))


@pytest.mark.parametrize("kind", [S, T])
def test_a_state_has_ended_when_nothing_leads_on(kind):
    assert {state for state in kind if state.has_ended} == {state for state in kind if not REACHABLE[state]}


def test_a_refusal_names_the_resource_its_state_and_what_is_needed():
    error = study.PAUSE_STUDY.refusal("projects/p/studies/s", S.FAILED)
    assert error.reason == "WRONG_STATE"
    assert "projects/p/studies/s is FAILED" in str(error) and "SEARCHING" in str(error)
