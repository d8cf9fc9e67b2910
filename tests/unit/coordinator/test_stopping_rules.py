"""When a study ends early, and whose fault a lost run was."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.names import StudyName
from hydro.coordinator.retrying import after_loss, isolated
from hydro.coordinator.stopping import Ending, Endurance, SearchStanding, Stopping, ending, validate_stopping
from hydro.coordinator.tags import changed, validate_tags
from hydro.coordinator.trial import Retry, Trial, TrialKind, TrialState
from hydro.kit.errors import InvalidArgument

STUDY = StudyName("p", "s")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRIAL = Trial(STUDY.trial(0), TrialKind.SEARCH, TrialState.RUNNING, {}, 0, NOW)
STANDING = SearchStanding(searched_seconds=10, best=0.5, trials_without_improvement=3, failed=2, first_failures=["a"])


@pytest.mark.parametrize(
    ("stopping", "endurance", "expected"),
    [
        (Stopping(), Endurance(), None),
        (Stopping(target_value=0.4), Endurance(), None),
        (Stopping(target_value=0.5), Endurance(), Ending.SUCCEED),
        (Stopping(max_duration_seconds=11), Endurance(), None),
        (Stopping(max_duration_seconds=10), Endurance(), Ending.SUCCEED),
        (Stopping(max_trials_without_improvement=4), Endurance(), None),
        (Stopping(max_trials_without_improvement=3), Endurance(), Ending.SUCCEED),
        (Stopping(), Endurance(failure_budget=3), None),
        (Stopping(), Endurance(failure_budget=2), Ending.FAIL),
        (Stopping(target_value=0.5), Endurance(failure_budget=2), Ending.SUCCEED),
        (Stopping(max_duration_seconds=1), Endurance(failure_budget=2), Ending.FAIL),
    ],
)
def test_the_first_rule_that_holds_ends_the_study(stopping, endurance, expected):
    found = ending(stopping, endurance, STANDING, minimizes=True)
    assert (found[0] if found else None) is expected


def test_a_target_is_reached_from_the_side_of_the_goal():
    assert ending(Stopping(target_value=0.4), Endurance(), STANDING, minimizes=False) is not None
    assert ending(Stopping(target_value=0.6), Endurance(), STANDING, minimizes=False) is None


def test_a_study_without_a_best_trial_has_reached_no_target():
    assert ending(Stopping(target_value=9), Endurance(), replace(STANDING, best=None), minimizes=True) is None


def test_each_wrong_limit_is_named():
    wrong = Stopping(-1, math.nan, -1), Endurance(-1, -1)
    assert [each.field for each in validate_stopping(*wrong)] == [
        "study.stopping.max_duration_seconds",
        "study.stopping.target_value",
        "study.stopping.max_trials_without_improvement",
        "study.max_retries",
        "study.failure_budget",
    ]
    assert not list(validate_stopping(Stopping(math.inf), Endurance()))[1:]


def test_a_trial_that_came_further_before_it_was_lost_again_begins_its_count_anew():
    lost = replace(TRIAL, failures=3, checkpoint_steps=50, retries=(Retry("r", 40, 1, NOW),))
    assert (after_loss(lost, 1, 3).failures, after_loss(lost, 1, 3).has_failed) == (1, False)
    stuck = replace(lost, checkpoint_steps=40)
    assert after_loss(stuck, 1, 3).has_failed


@given(lanes=st.integers(1, 64), culprits=st.sets(st.integers(0, 63), max_size=3), retries=st.integers(0, 3))
def test_only_the_trials_that_end_workers_fail_whatever_they_are_bundled_with(lanes, culprits, retries):
    trials = {n: replace(TRIAL, name=STUDY.trial(n)) for n in range(lanes)}
    done, failed, losses = set(), set(), 0
    while waiting := [number for number in trials if number not in done | failed]:
        limits = {number: trials[number].lane_limit for number in waiting if trials[number].lane_limit}
        for bundle in isolated([PlannedBundle(STUDY, TrialKind.SEARCH, tuple(waiting), max_lanes=64)], limits):
            if culprits.isdisjoint(bundle.trials):
                done |= set(bundle.trials)
                continue
            losses += 1
            for number in bundle.trials:
                judged = after_loss(trials[number], len(bundle.trials), retries)
                trials[number] = replace(trials[number], failures=judged.failures, lane_limit=judged.lane_limit)
                if judged.has_failed:
                    failed.add(number)
    guilty = {number for number in culprits if number < lanes}
    assert failed == guilty and done == set(range(lanes)) - guilty
    assert all(trials[number].failures == 0 for number in done)
    assert losses <= len(guilty) * (math.ceil(math.log2(max(lanes, 2))) + 1 + retries)


def test_trials_under_suspicion_get_bundles_that_nobody_joins():
    bundle = PlannedBundle(STUDY, TrialKind.SEARCH, (0, 1, 2, 3, 4), max_lanes=8, micro_lanes=4)
    free, *apart = isolated([bundle], {1: 2, 2: 1, 4: 2})
    assert (free.trials, free.max_lanes) == ((0, 3), 8)
    assert [(each.trials, each.max_lanes, each.micro_lanes) for each in apart] == [((2,), 1, 1), ((1, 4), 2, 2)]


def test_tags_are_added_and_removed():
    assert changed({"a": "1", "b": "2"}, {"a": "3", "c": ""}, ["b", "z"]) == {"a": "3", "c": ""}


@pytest.mark.parametrize(
    "tags", [{"A": ""}, {"": "x"}, {"a": "x" * 257}, {"a": "\x00"}, {f"t{n}": "" for n in range(65)}]
)
def test_what_cannot_be_a_tag_is_named(tags):
    assert validate_tags(tags, "study.tags")[0].field.startswith("study.tags")
    with pytest.raises(InvalidArgument):
        changed({}, tags, [])


def test_a_tag_is_not_added_and_removed_at_once():
    with pytest.raises(InvalidArgument, match="removed_tags"):
        changed({}, {"a": ""}, ["a"])


def test_members_that_train_together_stay_so_until_they_stop_coming_further():
    first = after_loss(TRIAL, 8, 3, trains_together=True)
    assert (first.lane_limit, first.failures, first.has_failed) == (0, 0, False)
    lost = replace(TRIAL, retries=(Retry("killed", 20, 8, NOW),), checkpoint_steps=40)
    assert after_loss(lost, 8, 3, trains_together=True).lane_limit == 0
    assert after_loss(replace(lost, checkpoint_steps=20), 8, 3, trains_together=True).lane_limit == 4
    assert after_loss(lost, 8, 3).lane_limit == 4
