"""`python -m benchmarks.search.make_table`: trains examples/digits.py on a grid and stores what each point came to.

The grid is a study's known points on its surrogate of width 1/8, so every trial is one of the example's own, fused with
the others. `digits_table.json` holds the axes and the validation losses in the order of `itertools.product`.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from hydro.client import Client, loguniform, minimize, no_pruning, surrogate, uniform

TABLE = Path(__file__).parent / "digits_table.json"
EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS, WIDTH = 64, 1 / 8
AXES: dict[str, list[Any]] = {
    "lr": [round(10 ** (-3 + 0.2 * index), 6) for index in range(16)],
    "momentum": [0.5, 0.65, 0.8, 0.9, 0.95, 0.99],
    "weight_decay": [1e-6, 1e-3, 1e-2],
}


def main() -> None:
    """Trains the grid on a suite of its own, and writes the table."""
    points = [dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())]
    with Client.local() as client:
        study = client.create_study(
            "digits-table",
            task="digits:Digits",
            source_path=str(EXAMPLES),
            search_space={
                "lr": loguniform(min(AXES["lr"]), max(AXES["lr"])),
                "momentum": uniform(0.5, 0.99),
                "weight_decay": loguniform(1e-6, 1e-2),
            },
            objective=minimize("validation_loss"),
            known_points=points,
            sampler="random",
            pruner=no_pruning(STEPS),
            surrogate=surrogate(WIDTH),
            trials=len(points),
            parallelism=128,
        )
        study.wait(progress=True)
        found = {each.snapshot.known_point: each.value for each in study.trials}
    losses = [None if found[index] is None else float(f"{found[index]:.6g}") for index in range(len(points))]
    table = {"task": "examples/digits.py", "width": WIDTH, "steps": STEPS, "axes": AXES, "validation_loss": losses}
    TABLE.write_text(json.dumps(table) + "\n")


if __name__ == "__main__":
    main()
