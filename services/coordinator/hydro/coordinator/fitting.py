"""Which trials may join which bundles of their study."""

from __future__ import annotations

from collections.abc import Callable

from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Hyperparameters

Fits = Callable[[Hyperparameters, Hyperparameters], bool]
"""Whether a trial with the first ones may be a lane of a bundle whose structure is the second ones."""


async def fits_of(tx: Transaction, study: Study) -> Fits | None:
    """The study's own. None: it has no surrogate yet."""
    if study.spec.command is not None:
        return lambda hyperparameters, structure: True
    surrogate = await tx.surrogates.of_study(study.name)
    return None if surrogate is None else surrogate.fits
