"""The same search done by Optuna alone on the target and by Hydro on its surrogate: wall time, and what comes of it."""
