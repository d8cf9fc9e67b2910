"""Values in order, for decisions in O(log n)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

Entry = tuple[float, int]
"""(cost, trial): a smaller cost is better, and of equal ones the earlier trial."""


class Ranking:
    """Entries from the best to the worst."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = sorted(entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, rank: int) -> Entry:
        return self._entries[rank]

    def add(self, entry: Entry) -> None:
        """Takes an entry in."""
        insort(self._entries, entry)

    def remove(self, entry: Entry) -> None:
        """Takes an entry out, if it is there."""
        rank = self.rank(entry)
        if rank < len(self._entries) and self._entries[rank] == entry:
            del self._entries[rank]

    def rank(self, entry: Entry) -> int:
        """How many entries are better than this one."""
        return bisect_left(self._entries, entry)
