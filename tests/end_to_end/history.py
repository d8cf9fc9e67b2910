"""All that the database stored in the course of a study, transaction by transaction, and its laws."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

ENDS = ("SUCCEEDED", "PRUNED", "FAILED", "CANCELLED")

# What the coordinator stores, as it stores it: each line belongs to a transaction that was committed.
AUDIT = """
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY, tx bigint DEFAULT txid_current(), kind text, key bigint, old text, new text,
    bundle bigint
);
CREATE FUNCTION note_trial() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit (kind, key, old, new, bundle) VALUES ('trial', NEW.number, OLD.state, NEW.state, NEW.bundle);
    RETURN NULL; END $$;
CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit (kind, key, old, new, bundle)
    VALUES ('lease', NEW.fencing_token, OLD.state, NEW.state, NEW.bundle);
    RETURN NULL; END $$;
CREATE FUNCTION note_measurement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit (kind, key, new) VALUES ('measurement', COALESCE(NEW.number, OLD.number), TG_OP);
    RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON trial FOR EACH ROW EXECUTE FUNCTION note_trial();
CREATE TRIGGER note AFTER INSERT OR UPDATE ON lease FOR EACH ROW EXECUTE FUNCTION note_lease();
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON measurement FOR EACH ROW EXECUTE FUNCTION note_measurement();
"""

Course = list[tuple[str, int]]
"""States of a trial in their order, each with the measurements that it had when it came to it."""


def check_history(events: list[Any]) -> int:
    """Holds every transaction of a study against the laws.

    A trial ends once. A running trial is in a bundle with a live lease, and in no other. A measurement is stored only
    while its trial runs under a live lease, and is never changed. Gives the number of trials that it saw.
    """
    leases: dict[int, int] = {}
    trials: dict[int, tuple[str, int | None]] = {}
    for _, transaction in itertools.groupby(_as_committed(events), key=lambda event: event["tx"]):
        running = {number for number, (state, _) in trials.items() if state == "RUNNING"}
        for event in transaction:
            key = event["key"]
            if event["kind"] == "lease":
                leases |= {key: event["bundle"]}
                if event["new"] != "ACTIVE":
                    assert event["old"] == "ACTIVE", f"lease {key} ended twice"
                    leases.pop(key)
            elif event["kind"] == "trial":
                assert event["old"] not in ENDS or event["old"] == event["new"], f"trial {key} ended twice"
                trials[key] = event["new"], event["bundle"]
            else:
                assert event["new"] == "INSERT", f"a measurement of trial {key} was changed"
                assert key in running, f"trial {key} was measured while it did not run"
        live = Counter(leases.values())
        for number, (state, bundle) in trials.items():
            assert state != "RUNNING" or live[bundle] == 1, f"trial {number} runs under {live[bundle]} leases"
    return len(trials)


def courses(events: list[Any]) -> dict[int, Course]:
    """What each trial of a study went through, by number."""
    found: dict[int, Course] = {}
    measured: Counter[int] = Counter()
    for event in _as_committed(events):
        if event["kind"] == "measurement":
            measured[event["key"]] += 1
        elif event["kind"] == "trial" and event["new"] != event["old"]:
            found.setdefault(event["key"], []).append((event["new"], measured[event["key"]]))
    return found


def promotions(course: Course) -> list[int]:
    """How often the trial had been measured when it paused, each time that it was promoted and went on."""
    steps = zip(course, course[1:], course[2:], strict=False)
    return [
        paused[1]
        for paused, *after in steps
        if paused[0] == "PAUSED" and after == [("PENDING", paused[1]), ("RUNNING", paused[1])]
    ]


def most_running(events: list[Any]) -> int:
    """The most trials that ran at once, when any of the transactions was committed."""
    states: dict[int, str] = {}
    most = 0
    for _, transaction in itertools.groupby(_as_committed(events), key=lambda event: event["tx"]):
        states |= {event["key"]: event["new"] for event in transaction if event["kind"] == "trial"}
        most = max(most, sum(state == "RUNNING" for state in states.values()))
    return most


def _as_committed(events: list[Any]) -> list[Any]:
    last = {event["tx"]: event["id"] for event in events}
    return sorted(events, key=lambda event: (last[event["tx"]], event["id"]))
