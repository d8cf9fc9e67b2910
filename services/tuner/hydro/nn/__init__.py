"""Grouped twins of torch.nn: torch's names and arguments, a lane axis first."""
