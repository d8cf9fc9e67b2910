"""Hydro's Python SDK: create studies, follow them, train the target, drive the search from a loop of one's own."""

from hydro.client.client import Client
from hydro.client.objectives import Goal, Objective, maximize, minimize
from hydro.client.pruning import Asha, Median, NoPruning, Pruner, asha, median, no_pruning
from hydro.client.snapshots import (
    DeviceKind,
    DeviceSnapshot,
    DeviceState,
    Measurement,
    StudyChange,
    StudySettings,
    StudySnapshot,
    StudyState,
    StudyStatistics,
    TrialKind,
    TrialSnapshot,
    TrialState,
)
from hydro.client.spaces import Domain, SearchSpace, choice, constant, fidelity, integer, logint, loguniform, uniform
from hydro.client.study import Study
from hydro.client.surrogates import (
    LadderRung,
    LayerSlope,
    Profile,
    ProfilePoint,
    Surrogate,
    SurrogateSettings,
    Transfer,
    TransferKind,
    surrogate,
)
from hydro.client.target import Target
from hydro.client.target_checks import EagerTransfer
from hydro.client.trials import Trial, TrialPruned

__all__ = [
    "Asha",
    "Client",
    "DeviceKind",
    "DeviceSnapshot",
    "DeviceState",
    "Domain",
    "EagerTransfer",
    "Goal",
    "LadderRung",
    "LayerSlope",
    "Measurement",
    "Median",
    "NoPruning",
    "Objective",
    "Profile",
    "ProfilePoint",
    "Pruner",
    "SearchSpace",
    "Study",
    "StudyChange",
    "StudySettings",
    "StudySnapshot",
    "StudyState",
    "StudyStatistics",
    "Surrogate",
    "SurrogateSettings",
    "Target",
    "Transfer",
    "TransferKind",
    "Trial",
    "TrialKind",
    "TrialPruned",
    "TrialSnapshot",
    "TrialState",
    "asha",
    "choice",
    "constant",
    "fidelity",
    "integer",
    "logint",
    "loguniform",
    "maximize",
    "median",
    "minimize",
    "no_pruning",
    "surrogate",
    "uniform",
]
