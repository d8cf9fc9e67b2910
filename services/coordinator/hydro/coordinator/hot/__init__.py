"""Studies whose trials their callers drive: decided in memory, stored in group commits."""
