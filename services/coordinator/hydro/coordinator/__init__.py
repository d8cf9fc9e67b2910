"""The study service: studies, trials, search, pruning, leases and allocation over devices and slots."""
