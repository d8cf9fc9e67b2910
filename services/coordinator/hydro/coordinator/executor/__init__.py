"""Executors: the processes of workers on devices."""
