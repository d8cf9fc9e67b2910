"""How the lanes of a bundle run."""

from enum import Enum


class Execution(Enum):
    """How the lanes of a bundle run."""

    FUSED = "FUSED"
    """As one grouped program."""
    SEPARATE = "SEPARATE"
    """One model after the other."""
