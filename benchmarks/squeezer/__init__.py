"""What the squeezer takes from a pipeline run, and what trials get for it."""
