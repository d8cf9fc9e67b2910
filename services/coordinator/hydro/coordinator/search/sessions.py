"""What a search process holds of each study between requests."""

from __future__ import annotations

from collections import OrderedDict

from hydro.coordinator.search.backends import open_search
from hydro.coordinator.search.ledger import MOST_STUDIES, Update
from hydro.coordinator.search.optuna_backend import Search
from hydro.coordinator.trial import Value


class Sessions:
    """The side of the search process; `Ledger` is the coordinator's."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[int, Search]] = OrderedDict()

    def answer(self, update: Update) -> list[dict[str, Value]] | None:
        """The suggestions. None: the history that the update goes on with is not here."""
        request = update.request
        version, search = self._held.pop(request.study, (0, None))
        if update.version == 0:
            search = open_search(request)
        elif search is None or version != update.version:
            return None
        search.learn(request.history)
        if request.study:
            self._held[request.study] = update.version + 1, search
        if len(self._held) > MOST_STUDIES:
            self._held.popitem(last=False)
        return search.suggest(request)
