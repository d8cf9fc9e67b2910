"""Benchmarks: each is `python -m benchmarks.NAME --json FILE [--quick]`, from the repository's root."""
