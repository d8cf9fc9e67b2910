"""Linear maps and matrix products: what they do to dimensions, and how they run over lanes."""
