"""Ops that move elements and change none: what they do to dimensions, and how they run over lanes."""
