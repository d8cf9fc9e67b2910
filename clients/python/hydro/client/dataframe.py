"""Trials as a table. The one place that needs pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from hydro.client.snapshots import TrialSnapshot


def dataframe(trials: Sequence[TrialSnapshot]) -> pd.DataFrame:
    """One row a trial; columns `hyperparameters_NAME` and `metrics_NAME`, the metrics at its end.

    A study of several objectives has them as `values_INDEX`, one with constraints has `feasible`.
    """
    return pd.DataFrame([_row(each) for each in trials])


def _row(trial: TrialSnapshot) -> dict[str, Any]:
    last = trial.measurements[-1].metrics if trial.measurements else {}
    metrics = {**last, **trial.metrics}
    several = dict(enumerate(trial.values)) if len(trial.values) > 1 else {}
    feasible = {} if trial.feasible is None else {"feasible": trial.feasible}
    return {
        "number": trial.name.number,
        "state": trial.state.name,
        "value": trial.value,
        **{f"values_{index}": value for index, value in several.items()},
        **feasible,
        "steps": trial.steps,
        "seed": trial.seed,
        "device_seconds": trial.device_seconds,
        "create_time": trial.create_time,
        "end_time": trial.end_time,
        **{f"hyperparameters_{name}": value for name, value in trial.hyperparameters.items()},
        **{f"metrics_{name}": value for name, value in metrics.items()},
    }
