"""The figures that the contract names, from the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.study_service.clients import HYDRO_STREAM, HYDRO_UNARY, OPTUNA_PROXY, OPTUNA_RDB
from benchmarks.study_service.workload import REPORTS

KEYS = (
    "trials_per_second_unary",
    "trials_per_second_stream",
    "ratio_vs_rdb",
    "ratio_vs_proxy",
    "report_p99_ms_8",
    "report_p99_ms_32",
    "growth_ratio_20k",
    "ask_p99_ms_10k",
    "cpu_ms_per_trial",
)
COMPARED_CLIENTS = (8, 32)
MOST_CLIENTS, MOST_TRIALS, TPE_TRIALS = 32, 20_000, 10_000

Row = Mapping[str, Any]


def empty_summary() -> dict[str, float | None]:
    """Gives every key, nothing measured."""
    return dict.fromkeys(KEYS)


def summarize(rows: Sequence[Row]) -> dict[str, float | None]:
    """Gives each figure; of several cells the worst. Ours is the unary variant where a key does not name one."""
    cells = {
        (row["system"], row["clients"], row["trials_in_study"]): row for row in rows if row["what"] == "throughput"
    }
    asks = {row["trials_in_study"]: row for row in rows if row["what"] == "tpe"}
    fullest = cells.get((HYDRO_UNARY, MOST_CLIENTS, MOST_TRIALS))
    streamed = cells.get((HYDRO_STREAM, MOST_CLIENTS, MOST_TRIALS))
    figures: dict[str, float | None] = {
        "trials_per_second_unary": fullest["trials_per_second"] if fullest else None,
        "trials_per_second_stream": streamed["trials_per_second"] if streamed else None,
        "ratio_vs_rdb": _ratio(cells, OPTUNA_RDB),
        "ratio_vs_proxy": _ratio(cells, OPTUNA_PROXY),
        "report_p99_ms_8": _report_p99(cells, 8),
        "report_p99_ms_32": _report_p99(cells, 32),
        "growth_ratio_20k": _growth(cells),
        "ask_p99_ms_10k": asks[TPE_TRIALS]["ask_ms"]["p99"] if TPE_TRIALS in asks else None,
        "cpu_ms_per_trial": fullest["cpu_ms_per_trial"]["total"] if fullest else None,
    }
    return empty_summary() | figures


Cells = Mapping[tuple[str, int, int], Row]


def _ratio(cells: Cells, peer: str) -> float | None:
    """The smallest ratio of our throughput to a peer's over the compared cells."""
    ratios = []
    for clients in COMPARED_CLIENTS:
        for trials in (0, MOST_TRIALS):
            ours, theirs = cells.get((HYDRO_UNARY, clients, trials)), cells.get((peer, clients, trials))
            if ours is not None and theirs is not None and theirs["trials_per_second"]:
                ratios.append(ours["trials_per_second"] / theirs["trials_per_second"])
    return min(ratios, default=None)


def _report_p99(cells: Cells, clients: int) -> float | None:
    """The longer one of an empty study and a full one."""
    found = [cells.get((HYDRO_UNARY, clients, trials)) for trials in (0, MOST_TRIALS)]
    return max((row["milliseconds"]["report"]["p99"] for row in found if row is not None), default=None)


def _growth(cells: Cells) -> float | None:
    """How much longer a trial's operations take in a full study than in an empty one: the most over numbers of clients.

    By the medians of the operations' latencies.
    """
    ratios = []
    for system, clients, trials in cells:
        full, empty = cells[system, clients, trials], cells.get((system, clients, 0))
        if system == HYDRO_UNARY and trials == MOST_TRIALS and empty is not None:
            ratios.append(_trial_milliseconds(full) / _trial_milliseconds(empty))
    return max(ratios, default=None)


def _trial_milliseconds(row: Row) -> float:
    latencies = row["milliseconds"]
    return float(latencies["ask"]["p50"] + REPORTS * latencies["report"]["p50"] + latencies["tell"]["p50"])
