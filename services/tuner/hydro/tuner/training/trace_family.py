"""Traces of one structure, and the one program that serves any selection of them."""

from __future__ import annotations

from collections.abc import Sequence

from hydro.tuner.fusion.lower import GroupedProgram, lower_as
from hydro.tuner.fusion.structure import Structure, compare
from hydro.tuner.tracing import Trace


class TraceFamily:
    """Traces that differ in numbers alone, gathered while lanes come.

    The numbers are a table that the program is called with: a trace that brings new ones has nothing lowered again,
    unless it differs in a place where none did before, and lanes that are grouped anew pick other rows.
    """

    def __init__(self, *, compiles: bool) -> None:
        """Takes whether the program is to be compiled."""
        self._compiles = compiles
        self._traces: list[Trace] = []
        self._structure = Structure()
        self._lowered: tuple[Structure, GroupedProgram] | None = None
        self._of_rows: dict[tuple[int, ...], GroupedProgram] = {}

    def admit(self, traces: Sequence[Trace]) -> None:
        """Takes in those that are new.

        Raises:
            NotFusible: One differs in more than numbers; the family is as it was.
        """
        known = {id(trace) for trace in self._traces}
        new = list({id(trace): trace for trace in traces if id(trace) not in known}.values())
        if not new:
            return
        together = [*self._traces, *new]
        if len(together) > 1:
            self._structure = compare(together)
        self._traces = together
        self._of_rows.clear()

    def program(self, traces: Sequence[Trace]) -> GroupedProgram:
        """Gives the program for lanes with these traces, all of the family, in this order."""
        row_of = {id(trace): row for row, trace in enumerate(self._traces)}
        # A program without numbers is the same for any lanes.
        rows = tuple(row_of[id(trace)] for trace in traces) if len(self._traces) > 1 else ()
        if rows not in self._of_rows:
            program = self._program()
            self._of_rows[rows] = program.of(rows) if rows else program
        return self._of_rows[rows]

    @property
    def compilation(self) -> str:
        """See `GroupedProgram`."""
        return self._lowered[1].compilation if self._lowered else ""

    def _program(self) -> GroupedProgram:
        if self._lowered is None or not self._lowered[0].differs_like(self._structure):
            program = lower_as(self._traces[0], self._structure)
            self._lowered = self._structure, program.compiled() if self._compiles else program
        structure, program = self._lowered
        return program if structure is self._structure else program.carrying(self._structure)
