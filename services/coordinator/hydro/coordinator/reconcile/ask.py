"""SEARCHING studies get new trials."""

from __future__ import annotations

from hydro.coordinator.asking import Asking
from hydro.coordinator.storage.storage import Storage
from hydro.coordinator.study import StudyState


async def ask(storage: Storage, asking: Asking) -> None:
    """Fills each study that workers train up to what it may have now; the others are asked for by their callers."""
    for study in await storage.run(lambda tx: tx.studies.in_states([StudyState.SEARCHING])):
        if not study.spec.is_driven:
            await asking.ask(study.name)
