"""Allocation: which bundle runs where."""
