"""How the lanes of a bundle run."""

from enum import Enum


class Execution(Enum):
    """How the lanes of a bundle run."""

    FUSED = "FUSED"
    """As one grouped program."""
    COMPILED = "COMPILED"
    """As one grouped program by way of torch.compile, where that can be; on a GPU captured as well."""
    SEPARATE = "SEPARATE"
    """One model after the other."""
