"""Command trials: programs of any kind, run on the worker's device."""
