"""A suite of one's own: a real Postgres and real services, started and stopped by the client."""

import pytest

from hydro.client import Client, StudyState, TrialPruned, TrialState, asha, choice, maximize, minimize, uniform
from hydro.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange

SPACE = {"x": uniform(-2, 2), "kind": choice(["even", "odd"])}


def square(trial):
    return trial.hyperparameters["x"] ** 2


def test_a_loop_of_ones_own_drives_the_search_to_its_end(client):
    study = client.create_study("square", search_space=SPACE, objective=minimize("loss"), trials=12, seed=1)
    study.optimize(square)
    assert study.wait(timeout_seconds=30).state is StudyState.SUCCEEDED
    values = [each.value for each in study.trials]
    assert len(values) == 12
    assert study.best_trial.value == min(values)
    assert client.get_study("square").to_dataframe()["value"].min() == min(values)
    assert study.to_optuna().best_value == min(values)


def test_a_pruner_advises_and_a_pruned_trial_says_so(client):
    study = client.create_study(
        "pruned", search_space=SPACE, objective=minimize("loss"), pruner=asha(1, 4, 2), trials=8, parallelism=1
    )

    def objective(trial):
        for step in (1, 2, 4):
            if trial.report(step, square(trial)):
                raise TrialPruned
        return square(trial)

    study.optimize(objective)
    states = {each.state for each in study.trials}
    assert states == {TrialState.SUCCEEDED, TrialState.PRUNED}
    # At its last step it is not told to stop: its value is told.
    assert study.best_trial.steps == 4


def test_the_first_value_told_stands(client):
    study = client.create_study("told", search_space=SPACE, objective=minimize("loss"), trials=1)
    trial = study.ask()
    trial.tell(0.5)
    trial.tell(0.5)
    with pytest.raises(FailedPrecondition):
        trial.tell(0.25)
    assert study.trials[0].value == 0.5


def test_ask_gives_no_more_than_may_be_open_at_once(client):
    study = client.create_study("narrow", search_space=SPACE, objective=minimize("loss"), trials=5, parallelism=1)
    study.ask()
    with pytest.raises(OutOfRange, match="1 may be open at once"):
        study.ask()


def test_a_cancelled_study_can_be_deleted(client):
    study = client.create_study("short", search_space=SPACE, objective=minimize("loss"))
    with pytest.raises(FailedPrecondition):
        study.delete()
    study.cancel()
    study.delete()
    with pytest.raises(NotFound):
        client.get_study("short")


def test_an_id_that_is_taken_is_refused(client):
    client.create_study("twice", search_space=SPACE, objective=minimize("loss"))
    with pytest.raises(AlreadyExists, match="twice exists"):
        client.create_study("twice", search_space=SPACE, objective=minimize("loss"))


def test_every_wrong_field_is_named_and_nothing_is_stored(client):
    with pytest.raises(InvalidArgument) as caught:
        client.create_study("wrong", search_space={"x": uniform(2, 1)}, objective=minimize(""), trials=0)
    named = " ".join(each.field for each in caught.value.violations)
    for field in ("search_space", "objective", "max_trials"):
        assert field in named
    with pytest.raises(NotFound):
        client.get_study("wrong")


def watched(study, resume_token, number):
    """The states of the trials that a watch gives until it comes to the one of a number, and where it stopped."""
    states = {}
    for change in study.changes(resume_token):
        states |= {each.name.number: each.state for each in change.trials}
        if number in states:
            return states, change.resume_token
    raise AssertionError(f"the watch ended without trial {number}: {states}")


def test_a_watch_that_is_taken_up_again_gives_what_came_meanwhile_and_nothing_twice(client):
    ended, running = TrialState.SUCCEEDED, TrialState.RUNNING
    study = client.create_study(
        "watched-twice", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=6, parallelism=2
    )
    study.optimize(square, trials=2)
    opened = study.ask()
    first, token = watched(study, "", 2)
    assert first == {0: ended, 1: ended, 2: running}
    opened.tell(1.0)
    opened = study.ask()
    with Client(client.address) as other:
        second, token = watched(other.get_study("watched-twice"), token, 3)
    assert second == {2: ended, 3: running}
    opened.tell(1.0)
    study.optimize(square)
    with Client(client.address) as other:
        rest = list(other.get_study("watched-twice").changes(token))
    last = {each.name.number: each.state for change in rest for each in change.trials}
    assert last == {3: ended, 4: ended, 5: ended} and rest[-1].study.state is StudyState.SUCCEEDED


VALUES = (3.0, 1.0, 2.0, 1.0, 1.0, 2.0, None, 3.0)
"""Of trials in the order of their numbers; None: it fails."""


@pytest.mark.parametrize(
    ("objective", "best"), [(minimize("loss"), [1, 3, 4, 2, 5, 0, 7, 6]), (maximize("gain"), [0, 7, 2, 5, 1, 3, 4, 6])]
)
def test_trials_are_listed_page_by_page_in_every_order_and_no_more_than_are_wanted(
    client, monkeypatch, objective, best
):
    monkeypatch.setattr("hydro.client.calls._PAGE_SIZE", 2)
    study = client.create_study(
        f"pages-of-{objective.metric}", search_space=SPACE, objective=objective, sampler="random", trials=len(VALUES)
    )
    for value in VALUES:
        trial = study.ask()
        if value is None:
            trial.fail("no such file")
        else:
            trial.tell(value)
        if trial.number in (1, 2, 6, 7):
            trial.tag({"keep": "yes"})

    def numbers(**wanted):
        return [each.number for each in study.list_trials(**wanted)]

    assert [each.number for each in study.trials] == numbers() == list(range(8))
    assert numbers(best_first=True) == best
    for limit in (1, 2, 5):
        assert numbers(best_first=True, limit=limit) == best[:limit]
    assert numbers(states=[TrialState.SUCCEEDED]) == [0, 1, 2, 3, 4, 5, 7]
    assert numbers(tags={"keep": "yes"}, best_first=True) == [each for each in best if each in (1, 2, 6, 7)]
    assert numbers(tags={"keep": "yes"}, states=[TrialState.SUCCEEDED], limit=3) == [1, 2, 7]
