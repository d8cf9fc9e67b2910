"""How unlike in length batches may be that share a padded program; without torch, as the planner needs it."""

PADDING_KEEPS = 0.6
"""Batches share a padded program down to this share of the longest one: two lengths of which one is half the other are
faster apart, by a tenth to a fifth for a tiny model, and many lengths near each other are much faster together."""
