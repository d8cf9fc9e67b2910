"""Our arm: studies of a coordinator's process, over the wire, with its lines of suggestions."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import Any

from benchmarks.search.cells import Cell
from benchmarks.search.subjects import subject
from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.client import Client, minimize
from hydro.kit.values import values_of

TRAINING_SECONDS = {"random": 0.0, "tpe": 0.02, "gp": 0.1}
"""How long a trial lasts, at the least: a training of minutes would leave the search far more time between results."""


def create_study(client: Client, cell: Cell, seed: int) -> str:
    """Creates the study of a cell and a seed, and gives its resource name."""
    created = client.create_study(
        f"{cell.subject}-{cell.sampler}-{cell.parallelism}-{seed}".replace(" ", "-"),
        search_space={axis.name: axis.domain for axis in subject(cell.subject).axes},
        objective=minimize("loss"),
        sampler=cell.sampler,
        trials=cell.trials,
        parallelism=cell.parallelism,
        seed=seed,
    )
    return str(created.name)


async def regret(stub: Any, study: str, cell: Cell, seed: int) -> float:
    """Drives the study to its end, `parallelism` trials at a time, which end in the order of their starts."""
    what = subject(cell.subject)
    running: deque[Any] = deque()
    best, asked = float("inf"), 0
    while asked < cell.trials or running:
        while asked < cell.trials and len(running) < cell.parallelism:
            request = calls.SuggestTrialsRequest(parent=study, count=1, request_id=str(uuid.uuid4()))
            (trial,) = (await stub.SuggestTrials(request, timeout=120)).trials
            running.append(trial)
            asked += 1
        await asyncio.sleep(TRAINING_SECONDS[cell.sampler])
        trial = running.popleft()
        value = what.value(values_of(trial.hyperparameters), seed)
        best = min(best, value)
        await stub.CompleteTrial(calls.CompleteTrialRequest(name=trial.name, value=value))
    return best - what.least
