"""A suite of one's own: a real Postgres and real services, started and stopped by the client."""

import pytest

from hydro.client import StudyState, TrialPruned, TrialState, asha, choice, minimize, uniform
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
