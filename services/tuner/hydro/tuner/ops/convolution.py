"""Convolutions: what they do to dimensions, and how they run over lanes."""
