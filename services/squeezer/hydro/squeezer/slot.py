"""A slot: the recurring idle time of a GPU, as a device that bundles can be placed on."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Self

from hydro.kit.errors import FailedPrecondition, InvalidArgument, NotFound

_PATTERN: Final = re.compile(r"(devices/[a-z0-9][a-z0-9-]*)/slots/([a-z0-9][a-z0-9-]*)")


@dataclass(frozen=True, slots=True)
class SlotName:
    """`devices/<device>/slots/<run>-<stage>`."""

    device: str
    """`devices/<device>`."""
    identifier: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a resource name.

        Raises:
            InvalidArgument: the text is no slot's name.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"name: {text!r} is no slot's name: write devices/<device>/slots/<slot>")
        return cls(match[1], match[2])

    @classmethod
    def of_stage(cls, device: str, pipeline_run: str, stage: int) -> Self:
        """Gives the name of a stage's slot."""
        return cls(device, f"{pipeline_run}-{stage}")

    def __str__(self) -> str:
        return f"{self.device}/slots/{self.identifier}"


class SlotState(Enum):
    """Where a slot stands."""

    OBSERVED = "observed"
    """Too few steps were seen to offer it."""
    OFFERED = "offered"
    CLAIMED = "claimed"
    GONE = "gone"
    """Its pipeline run has ended, or does not answer."""


TRANSITIONS: Final[dict[SlotState, frozenset[SlotState]]] = {
    SlotState.OBSERVED: frozenset({SlotState.OFFERED, SlotState.GONE}),
    SlotState.OFFERED: frozenset({SlotState.CLAIMED, SlotState.GONE}),
    SlotState.CLAIMED: frozenset({SlotState.CLAIMED, SlotState.OFFERED, SlotState.GONE}),
    SlotState.GONE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Who may use the slot. A claim with a higher token takes it over."""

    lease: str
    fencing_token: int


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot's state; its methods give the next one."""

    name: SlotName
    state: SlotState = SlotState.OBSERVED
    claim: Claim | None = None
    highest_token: int = 0
    """Of all claims so far: a claim that was overtaken stays so after the slot was released."""

    def offered(self) -> Slot:
        """Enough steps were observed."""
        return self._moved(SlotState.OFFERED)

    def claimed(self, claim: Claim) -> Slot:
        """Gives the slot to a claim; the same claim again changes nothing.

        Raises:
            NotFound: the slot has gone, or is not offered yet.
            FailedPrecondition: LEASE_LOST; a higher token has been seen, or another lease has this one.
        """
        if self.state in (SlotState.OBSERVED, SlotState.GONE):
            raise NotFound(f"slot {self.name} is {self.state.value}: watch the slots and claim one that there is")
        if claim == self.claim:
            return self
        if claim.fencing_token <= self.highest_token:
            raise FailedPrecondition(
                f"slot {self.name}: fencing token {claim.fencing_token} of {claim.lease!r} is stale, "
                f"{self.highest_token} was seen: acquire another lease",
                reason="LEASE_LOST",
            )
        return replace(self._moved(SlotState.CLAIMED), claim=claim, highest_token=claim.fencing_token)

    def released(self, fencing_token: int) -> Slot:
        """Ends the claim of this token; anything else changes nothing, since that claim ended before."""
        if self.claim is None or self.claim.fencing_token != fencing_token:
            return self
        return self.freed()

    def freed(self) -> Slot:
        """Ends whatever claim there is."""
        return replace(self._moved(SlotState.OFFERED), claim=None) if self.claim is not None else self

    def gone(self) -> Slot:
        """The pipeline run has ended."""
        return replace(self, state=SlotState.GONE, claim=None) if self.state is not SlotState.GONE else self

    def _moved(self, state: SlotState) -> Slot:
        if state not in TRANSITIONS[self.state]:
            raise FailedPrecondition(f"slot {self.name} cannot go from {self.state.value} to {state.value}")
        return replace(self, state=state)
