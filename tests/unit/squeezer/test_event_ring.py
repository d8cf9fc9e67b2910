from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hydro.squeezer.events import CAPACITY, Event, EventKind, EventReader, EventWriter
from hydro.squeezer.shared_page import HEADER_WORDS, PageRejected

SECOND_NS = 1_000_000_000


@pytest.fixture
def writer(tmp_path: Path) -> EventWriter:
    return EventWriter.create(tmp_path / "run-1.events")


def test_reader_gets_events_as_they_were_written(writer: EventWriter) -> None:
    reader = EventReader.attach(writer.path)
    writer.write(EventKind.STEP_BEGIN, 10, step=7)
    writer.write(EventKind.BEGIN, 20, schedule_index=3, step=7)
    assert list(reader.read(0)) == [
        Event(EventKind.STEP_BEGIN, 10, step=7),
        Event(EventKind.BEGIN, 20, schedule_index=3, step=7, wait=1),
    ]
    assert list(reader.read(0)) == []


class Sleeper:
    """A thread that sleeps on the ring until it is woken."""

    def __init__(self, reader: EventReader) -> None:
        self.got: list[Event] = []
        self._thread = threading.Thread(target=lambda: self.got.extend(reader.read(60 * SECOND_NS)))
        self._thread.start()
        self._thread.join(timeout=0.05)

    def is_awake_within(self, seconds: float) -> bool:
        self._thread.join(timeout=seconds)
        return not self._thread.is_alive()


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        (EventKind.STEP_END, 0),
        (EventKind.SCHEDULE_CHANGED, 0),
        (EventKind.BEGIN, 3),
        (EventKind.BEGIN, 63),
        (EventKind.BEGIN, 64),
        (EventKind.BEGIN, 511),
        (EventKind.BEGIN, 512 + 3),
    ],
)
def test_event_that_cannot_wait_wakes_the_sleeping_reader(writer: EventWriter, kind: EventKind, index: int) -> None:
    reader = EventReader.attach(writer.path)
    reader.want([3, 63, 64, 511])
    sleeper = Sleeper(reader)
    writer.write(kind, 1, schedule_index=index)
    assert sleeper.is_awake_within(30.0)
    assert [(each.kind, each.schedule_index) for each in sleeper.got] == [(kind, index)]


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        (EventKind.STEP_BEGIN, 3),
        (EventKind.END, 3),
        (EventKind.BEGIN, 2),
        (EventKind.BEGIN, 3 + 64),
    ],
)
def test_event_that_can_wait_lets_the_reader_sleep(writer: EventWriter, kind: EventKind, index: int) -> None:
    reader = EventReader.attach(writer.path)
    reader.want([3])
    sleeper = Sleeper(reader)
    writer.write(kind, 1, schedule_index=index)
    assert not sleeper.is_awake_within(0.1)
    writer.write(EventKind.STEP_END, 2)
    assert sleeper.is_awake_within(30.0)
    assert [each.kind for each in sleeper.got] == [kind, EventKind.STEP_END]


def test_what_an_earlier_reader_wanted_wakes_nobody(writer: EventWriter) -> None:
    old = EventReader.attach(writer.path)
    old.want([3])
    new = EventReader.attach(writer.path)
    sleeper = Sleeper(new)
    writer.write(EventKind.BEGIN, 1, schedule_index=3)
    assert not sleeper.is_awake_within(0.1)
    new.want([3])
    old.want([])
    writer.write(EventKind.BEGIN, 2, schedule_index=3)
    assert sleeper.is_awake_within(30.0)


def test_full_ring_drops_and_counts_and_goes_on(writer: EventWriter) -> None:
    reader = EventReader.attach(writer.path)
    for stamp in range(CAPACITY + 5):
        writer.write(EventKind.STEP_BEGIN, stamp)
    assert reader.dropped == 5
    assert [each.stamp_ns for each in reader.read(0)] == list(range(CAPACITY))
    writer.write(EventKind.STEP_BEGIN, 999_999)
    assert [each.stamp_ns for each in reader.read(0)] == [999_999]


def test_new_reader_starts_with_what_comes_next(writer: EventWriter) -> None:
    old = EventReader.attach(writer.path)
    for stamp in range(CAPACITY + 5):
        writer.write(EventKind.STEP_BEGIN, stamp)
    new = EventReader.attach(writer.path)
    writer.write(EventKind.STEP_END, 5)
    assert [each.kind for each in new.read(0)] == [EventKind.STEP_END]
    assert old.is_replaced
    assert not new.is_replaced


def test_squeezers_account_comes_back_to_the_hook(writer: EventWriter) -> None:
    assert writer.consumer_age_ns() is None
    reader = EventReader.attach(writer.path)
    reader.publish(gates_opened=3, used_ns=500)
    assert (writer.gates_opened, writer.used_ns) == (3, 500)
    assert writer.consumer_age_ns() is not None


def test_damaged_ring_is_recognised(writer: EventWriter) -> None:
    reader = EventReader.attach(writer.path)
    writer.write(EventKind.STEP_BEGIN, 1)
    reader._words[32] = 77
    with pytest.raises(PageRejected, match="kind 77"):
        list(reader.read(0))
    reader._words[HEADER_WORDS] = 10**9
    with pytest.raises(PageRejected, match="head"):
        list(reader.read(0))


def test_file_that_is_no_ring_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.events").write_bytes(b"nothing")
    with pytest.raises(PageRejected, match="7 bytes"):
        EventReader.attach(tmp_path / "a.events")
