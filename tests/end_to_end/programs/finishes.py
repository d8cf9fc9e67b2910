"""Reports by the SDK, is refused with a token that is not its own, and says itself what it has come to."""

import os

from hydro.client import trial
from hydro.kit.errors import Unauthenticated

try:
    trial.TrialSession({**os.environ, "HYDRO_TRIAL_TOKEN": "another"}).report(1, 9.0)
except Unauthenticated:
    print("another token is refused", flush=True)
for step in (1, 2):
    assert trial.report(step, {"accuracy": 0.5, "loss": trial.hyperparameters["x"] / step})
trial.finish(0.125)
