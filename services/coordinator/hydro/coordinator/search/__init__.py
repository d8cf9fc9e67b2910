"""Search: what the next trials should be."""
