from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.kit.errors import FailedPrecondition, InvalidArgument, NotFound
from hydro.squeezer.slot import TRANSITIONS, Claim, Slot, SlotName, SlotState

NAME = SlotName.of_stage("devices/local-cpu-1", "replay", 1)


def test_name_reads_back_what_it_writes() -> None:
    assert str(NAME) == "devices/local-cpu-1/slots/replay-1"
    assert SlotName.parse(str(NAME)) == NAME


@pytest.mark.parametrize(
    "text", ["", "devices/a", "devices/a/slots/", "a/slots/b", "devices/A/slots/b", "devices/a/slots/b/c"]
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="no slot's name"):
        SlotName.parse(text)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(SlotState, SlotState)))
def test_slot_moves_only_as_the_table_says(source: SlotState, target: SlotState) -> None:
    slot = Slot(NAME, source)
    if target in TRANSITIONS[source]:
        assert slot._moved(target).state is target
    else:
        with pytest.raises(FailedPrecondition, match=source.value):
            slot._moved(target)


def test_slot_that_is_only_observed_cannot_be_claimed() -> None:
    with pytest.raises(NotFound, match="observed"):
        Slot(NAME).claimed(Claim("leases/a", 1))


def test_same_claim_again_changes_nothing() -> None:
    slot = Slot(NAME).offered().claimed(Claim("leases/a", 3))
    assert slot.claimed(Claim("leases/a", 3)) is slot


def test_higher_token_takes_the_slot_over() -> None:
    slot = Slot(NAME).offered().claimed(Claim("leases/a", 3)).claimed(Claim("leases/b", 4))
    assert slot.claim == Claim("leases/b", 4)


@pytest.mark.parametrize("claim", [Claim("leases/b", 3), Claim("leases/a", 2)])
def test_stale_token_is_refused(claim: Claim) -> None:
    slot = Slot(NAME).offered().claimed(Claim("leases/a", 3))
    with pytest.raises(FailedPrecondition) as refusal:
        slot.claimed(claim)
    assert refusal.value.reason == "LEASE_LOST"


def test_token_stays_stale_after_the_slot_was_released() -> None:
    slot = Slot(NAME).offered().claimed(Claim("leases/a", 3)).released(3)
    assert slot.state is SlotState.OFFERED
    with pytest.raises(FailedPrecondition):
        slot.claimed(Claim("leases/a", 2))


def test_release_with_another_token_changes_nothing() -> None:
    slot = Slot(NAME).offered().claimed(Claim("leases/a", 3))
    assert slot.released(2) is slot
    assert slot.released(4) is slot


@given(st.lists(st.tuples(st.sampled_from(["claim", "release"]), st.integers(1, 6)), max_size=20))
def test_holder_always_has_the_highest_token_seen(calls: list[tuple[str, int]]) -> None:
    slot, highest = Slot(NAME).offered(), 0
    for call, token in calls:
        if call == "release":
            slot = slot.released(token)
        else:
            try:
                slot = slot.claimed(Claim(f"leases/{token}", token))
                highest = max(highest, token)
            except FailedPrecondition:
                assert token <= highest
        assert slot.claim is None or slot.claim.fencing_token == highest
