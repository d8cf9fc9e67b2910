"""From a model to its surrogate: dimension variables, sizes, fresh values, scaled hyperparameters, checks."""
