"""Search quality: our samplers as they are served, against Optuna's own in its own process."""
