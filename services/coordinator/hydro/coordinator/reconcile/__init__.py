"""The loop that brings what is closer to what should be: one step per module, each may run again at any time."""
