"""Importance of hyperparameters, by Optuna. Needs optuna and scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from hydro.client.objectives import Objective
from hydro.kit.errors import FailedPrecondition


def importance(study: optuna.Study, objectives: Sequence[Objective]) -> dict[str, float]:
    """Share of each parameter in how the first objective varies, largest first (functional ANOVA, Hutter et al. 2014).

    Raises:
        FailedPrecondition: fewer than two trials have succeeded.
    """
    succeeded = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(succeeded) < 2:
        raise FailedPrecondition(f"{len(succeeded)} trials have succeeded: importance needs 2 or more")
    target = None if len(objectives) == 1 else lambda trial: trial.values[0]
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0), target=target
    )
    return {name: float(share) for name, share in found.items()}
