"""One room per op family: what an op does to dimensions, for shrinking, and how it runs over lanes, for fusing."""
