"""Does the surrogate's best learning rate serve the target? Drift and regret, standard parametrization beside ours."""
