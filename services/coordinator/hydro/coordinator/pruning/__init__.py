"""Pruning: which trials go on."""
