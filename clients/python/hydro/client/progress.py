"""The live view of a study: trials by state, best so far, lanes, devices, time left."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import TrialName
from hydro.client.snapshots import (
    DeviceKind,
    DeviceSnapshot,
    DeviceState,
    StudyChange,
    StudySnapshot,
    StudyState,
    TrialSnapshot,
)
from hydro.kit.errors import DeadlineExceeded, Unavailable

_REFRESH_SECONDS = 0.25
_DEVICES_SECONDS = 1.0
_LINE_SECONDS = 10.0
_COLOURS = {
    "PENDING": "bright_black",
    "RUNNING": "bright_blue",
    "PAUSED": "yellow",
    "SUCCEEDED": "green",
    "PRUNED": "magenta",
    "FAILED": "red",
    "CANCELLED": "red",
}


@dataclass(slots=True)
class View:
    """What the live view shows."""

    study: StudySnapshot
    elapsed_seconds: float = 0.0
    trials: dict[TrialName, TrialSnapshot] = field(default_factory=dict)
    devices: Sequence[DeviceSnapshot] = ()

    def take(self, change: StudyChange) -> None:
        """Brings the view up to the change."""
        self.study = change.study
        self.trials.update({each.name: each for each in change.trials})


def follow(
    changes: Iterator[StudyChange],
    coordinator: CoordinatorCalls,
    *,
    show: bool,
    timeout_seconds: float | None = None,
    is_over: Callable[[View], bool] = lambda view: False,
) -> StudySnapshot | None:
    """Follows a study to its end, or until `is_over` says so, showing it if asked to.

    Returns:
        The study as it was then, or None after the timeout.
    """
    console = Console(stderr=True)
    started = time.monotonic()
    deadline = None if timeout_seconds is None else started + timeout_seconds
    arrivals = _in_background(changes)
    view: View | None = None
    with _display(console, show) as display:
        while deadline is None or time.monotonic() < deadline:
            view = _take_arrivals(arrivals, view)
            if view is not None:
                view.elapsed_seconds = time.monotonic() - started
                display.show(view, coordinator)
                if view.study.state.has_ended or is_over(view):
                    return view.study
    return None


def _take_arrivals(arrivals: queue.Queue[StudyChange | Exception], view: View | None) -> View | None:
    try:
        arrival = arrivals.get(timeout=_REFRESH_SECONDS)
    except queue.Empty:
        return view
    if isinstance(arrival, Exception):
        raise arrival
    view = view or View(arrival.study)
    view.take(arrival)
    return view


def _in_background(changes: Iterator[StudyChange]) -> queue.Queue[StudyChange | Exception]:
    """A stream blocks its reader; the view has to go on meanwhile."""
    arrivals: queue.Queue[StudyChange | Exception] = queue.Queue()

    def read() -> None:
        try:
            for change in changes:
                arrivals.put(change)
        except Exception as error:  # noqa: BLE001 - raised again where the queue is read
            arrivals.put(error)

    threading.Thread(target=read, name="hydro-watch", daemon=True).start()
    return arrivals


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, view: View, coordinator: CoordinatorCalls) -> None:
        """Shows nothing."""


class _Lines(_Silent):
    """A line now and then, where no terminal can be redrawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at = -_LINE_SECONDS
        self._state: StudyState | None = None

    def show(self, view: View, coordinator: CoordinatorCalls) -> None:
        """Prints a line when the state changes, and every ten seconds."""
        if view.study.state is self._state and view.elapsed_seconds - self._shown_at < _LINE_SECONDS:
            return
        self._state, self._shown_at = view.study.state, view.elapsed_seconds
        self._console.print(summary_line(view), highlight=False, soft_wrap=True)


class _Screen(_Silent):
    """A part of the terminal that is drawn anew several times a second."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._devices_at = -_DEVICES_SECONDS

    def __enter__(self) -> _Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: View, coordinator: CoordinatorCalls) -> None:
        """Draws the view."""
        if view.elapsed_seconds - self._devices_at >= _DEVICES_SECONDS:
            self._devices_at = view.elapsed_seconds
            view.devices = _devices(coordinator) or view.devices
        self._live.update(render(view))


def _display(console: Console, show: bool) -> _Silent:
    if not show:
        return _Silent()
    return _Screen(console) if console.is_terminal else _Lines(console)


def _devices(coordinator: CoordinatorCalls) -> list[DeviceSnapshot]:
    try:
        return list(coordinator.list_devices())
    except (Unavailable, DeadlineExceeded):
        return []


def seconds_left(counts: Mapping[str, int], max_trials: int, elapsed_seconds: float) -> float | None:
    """The time the study still takes, if it goes on as it did; None before a tenth of its trials is behind it.

    A trial is behind it when it has ended, or pauses at a rung, from where most never go on.
    """
    behind = sum(count for state, count in counts.items() if state not in ("PENDING", "RUNNING"))
    if max_trials <= 0 or behind < max_trials / 10:
        return None
    return elapsed_seconds * max(0, max_trials - behind) / behind


def summary_line(view: View) -> str:
    """The view in one line."""
    study, counts = view.study, view.study.statistics.trials_by_state
    states = " ".join(f"{state.lower()} {counts[state]}" for state in _COLOURS if counts.get(state))
    best = f" best {_best_value(view)}" if study.best_trial else ""
    return f"{study.name.study} {study.state.name} {_clock(view.elapsed_seconds)} {states}{best}"


def render(view: View) -> RenderableType:
    """The view as a few lines of text and bars."""
    return Group(_head(view), _bar(view), _states(view), _best(view), *_warnings(view), _device_table(view))


def _head(view: View) -> Text:
    study, statistics = view.study, view.study.statistics
    left = seconds_left(statistics.trials_by_state, study.settings.max_trials, view.elapsed_seconds)
    lanes = statistics.trials_by_state.get("RUNNING", 0)
    return Text.assemble(
        (f"{study.name.study}  ", "bold"),
        (study.state.name, "green" if study.state is StudyState.SUCCEEDED else "bright_blue"),
        f"  {_clock(view.elapsed_seconds)}",
        "" if left is None or study.state.has_ended else f"  about {_clock(left)} left",
        f"  lanes {lanes} (at most {statistics.max_fusion_count} in one of {statistics.bundles} bundles)",
    )


def _bar(view: View) -> Table:
    counts = view.study.statistics.trials_by_state
    behind = sum(count for state, count in counts.items() if state not in ("PENDING", "RUNNING"))
    bar = ProgressBar(total=max(1, view.study.settings.max_trials), completed=behind, width=60)
    # A bar alone does not end its line.
    table = Table.grid()
    table.add_row(bar)
    return table


def _states(view: View) -> Text:
    counts = view.study.statistics.trials_by_state
    parts = [(f"{state.lower()} {counts[state]}  ", colour) for state, colour in _COLOURS.items() if counts.get(state)]
    return Text.assemble("trials  ", *parts, f"of {view.study.settings.max_trials}")


def _best(view: View) -> Text:
    study = view.study
    if study.best_trial is None:
        return Text("best    none yet", style="bright_black")
    trial = view.trials.get(study.best_trial)
    chosen = "" if trial is None else "  ".join(f"{n}={_short(v)}" for n, v in trial.hyperparameters.items())
    return Text.assemble(
        "best    ", (f"{study.settings.objective.metric} {_best_value(view)}", "bold green"), f"  {chosen}"
    )


def _best_value(view: View) -> str:
    trial = view.trials.get(view.study.best_trial) if view.study.best_trial else None
    return "?" if trial is None or trial.value is None else _short(trial.value)


def _warnings(view: View) -> list[Text]:
    return [Text(f"warning {each}", style="yellow") for each in view.study.warnings]


def _device_table(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    for device in view.devices:
        if device.state is not DeviceState.GONE:
            table.add_row(*_device_row(device))
    return table


def _device_row(device: DeviceSnapshot) -> tuple[str, str, str]:
    busy = "[bright_blue]busy[/]" if device.lease else "[bright_black]idle[/]"
    slot = device.kind is DeviceKind.SLOT
    share = f"bubbles {device.duty_cycle:.0%} of the time, {device.bubble_seconds * 1e3:.0f} ms" if slot else ""
    return device.name, busy, share


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
