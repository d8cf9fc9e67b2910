"""What a hyperparameter changes, what a step costs, and which trials are trained together."""
