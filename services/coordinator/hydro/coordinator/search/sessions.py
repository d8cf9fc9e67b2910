"""What a search process holds of each study between requests."""

from __future__ import annotations

from collections import OrderedDict

from hydro.coordinator.search.ledger import MOST_STUDIES, Update
from hydro.coordinator.search.optuna_backend import suggest
from hydro.coordinator.search.optuna_history import OptunaHistory
from hydro.coordinator.trial import Value


class Sessions:
    """The side of the search process; `Ledger` is the coordinator's."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, tuple[int, OptunaHistory]] = OrderedDict()

    def answer(self, update: Update) -> list[dict[str, Value]] | None:
        """The suggestions. None: the history that the update goes on with is not here."""
        request = update.request
        version, history = self._held.pop(request.study, (0, None))
        if update.version == 0:
            history = OptunaHistory(request.space, request.goal, request.further_goals)
        elif history is None or version != update.version:
            return None
        history.learn(request.history)
        if request.study:
            self._held[request.study] = update.version + 1, history
        if len(self._held) > MOST_STUDIES:
            self._held.popitem(last=False)
        return suggest(request, history)
