"""A named step from some states of a resource to another: the tables in study.py, trial.py ... are made of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from hydro.kit.errors import FailedPrecondition

State = TypeVar("State", bound=Enum)


@dataclass(frozen=True, slots=True)
class Transition(Generic[State]):
    """Leads from each of `sources` to `target`; storage writes it only while the state is one of the sources."""

    verb: str
    sources: frozenset[State]
    target: State

    def allows(self, state: State) -> bool:
        """Whether the step may be taken in `state`."""
        return state in self.sources

    def refusal(self, name: object, state: State) -> FailedPrecondition:
        """The error for a resource whose state forbids the step."""
        needed = " or ".join(sorted(source.name for source in self.sources))
        return FailedPrecondition(
            f"{name} is {state.name}: cannot {self.verb} it, only when it is {needed}", reason="WRONG_STATE"
        )


def transition(verb: str, sources: Iterable[State], target: State) -> Transition[State]:
    """Makes a row of a transition table."""
    return Transition(verb, frozenset(sources), target)


def reachable(table: Iterable[Transition[State]], state: State) -> frozenset[State]:
    """States one step away."""
    return frozenset(step.target for step in table if step.allows(state))
