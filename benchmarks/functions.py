"""Standard test functions of black-box optimization, to be minimized."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean

Point = Sequence[float]


def branin(x: Point) -> float:
    """Least 0.397887, on [-5, 10] x [0, 15]."""
    bowl = x[1] - 5.1 / (4 * math.pi**2) * x[0] ** 2 + 5 / math.pi * x[0] - 6
    return bowl**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x[0]) + 10


def ackley(x: Point) -> float:
    """Least 0 at 0."""
    squares, waves = mean(each**2 for each in x), mean(math.cos(2 * math.pi * each) for each in x)
    return -20 * math.exp(-0.2 * math.sqrt(squares)) - math.exp(waves) + 20 + math.e


def rosenbrock(x: Point) -> float:
    """Least 0 at 1."""
    return sum(100 * (b - a**2) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:], strict=False))


def sphere(x: Point) -> float:
    """Least 0 at 0."""
    return sum(each**2 for each in x)


_HARTMANN_WEIGHTS = (1.0, 1.2, 3.0, 3.2)
_HARTMANN_SCALES = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_HARTMANN_CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann(x: Point) -> float:
    """Hartmann's of six dimensions: least -3.32237, on [0, 1]^6."""
    return -sum(
        weight * math.exp(-sum(a * (each - c) ** 2 for a, c, each in zip(scales, centres, x, strict=True)))
        for weight, scales, centres in zip(_HARTMANN_WEIGHTS, _HARTMANN_SCALES, _HARTMANN_CENTRES, strict=True)
    )


FUNCTIONS: dict[str, tuple[Callable[[Point], float], list[tuple[float, float]], float]] = {
    "branin": (branin, [(-5, 10), (0, 15)], 0.397887),
    "ackley 5": (ackley, [(-20, 30)] * 5, 0.0),
    "rosenbrock 4": (rosenbrock, [(-2, 2)] * 4, 0.0),
    "sphere 8": (sphere, [(-4, 6)] * 8, 0.0),
    "hartmann 6": (hartmann, [(0, 1)] * 6, -3.32237),
}
"""Name to function, bounds and least value."""
