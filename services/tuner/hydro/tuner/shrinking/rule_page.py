"""The table as a page has it: `python -m hydro.tuner.shrinking.rule_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.rule_table import MUP, TRAINED, Exponents, OptimizerFamily, Row, table

_FAMILIES = (
    OptimizerFamily.SGD, OptimizerFamily.ADAMW, OptimizerFamily.ADAFACTOR, OptimizerFamily.MUON,
    OptimizerFamily.ADADELTA,
)  # fmt: skip
"""Adam, RMSprop and Adagrad have the learning rates and eps of AdamW."""


def markdown(feature_learning: float = MUP) -> str:
    """The table: classes that have the same rows share a line."""
    rows = table(feature_learning)
    header = ["class", "initial std", "multiplier", *(f"lr, {each.value}" for each in _FAMILIES), "eps, AdamW"]
    lines = [header, ["---"] * len(header)]
    groups: dict[tuple[str, ...], list[TensorClass]] = {}
    for each in TRAINED:
        groups.setdefault(tuple(_cells([rows[each, family] for family in _FAMILIES])), []).append(each)
    lines += [[", ".join(each.value for each in classes), *cells] for cells, classes in groups.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(rows: Sequence[Row]) -> Iterable[str]:
    yield _power(rows[0].initial_std)
    yield _power(rows[0].multiplier)
    yield from (_power(row.lr) for row in rows)
    yield _power(rows[1].eps)


def _power(exponents: Exponents) -> str:
    factors = [
        name if exponent == 1 else f"{name}^{exponent:g}"
        for name, exponent in zip(("m_in", "m_out"), exponents, strict=True)
        if exponent
    ]
    return " ".join(factors) or "1"


if __name__ == "__main__":
    sys.stdout.write(f"{markdown()}\n")
