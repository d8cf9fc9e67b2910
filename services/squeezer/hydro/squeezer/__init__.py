"""Fills the bubbles of a pipeline run with trials, and does not slow the run."""
