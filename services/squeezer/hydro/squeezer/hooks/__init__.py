"""What tells the squeezer of a pipeline run, from inside the run's processes: the only part that knows torch."""
