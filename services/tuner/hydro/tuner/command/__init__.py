"""The tuner's parts of the `hydro` command: what needs torch, and no suite."""
