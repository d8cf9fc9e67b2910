"""A loop of one's own: what its objective function returns or raises, threads, repeats, and streams that break."""

import threading

import pytest

from hydro.client import Client, TrialPruned, TrialState, at_most, maximize, minimize, uniform
from hydro.client.driving import TrialStreams
from hydro.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

SPACE = {"lr": uniform(0, 1)}


@pytest.fixture
def two(client):
    """A study of two objectives and a constraint."""
    return client.create_study(
        "two",
        search_space=SPACE,
        objective=[minimize("loss"), maximize("accuracy")],
        constraints=[at_most("memory", 8)],
        known_points=[{"lr": 0.25}],
        trials=4,
    )


def test_settings_travel_there_and_back(client, two):
    settings = client.get_study("two").settings
    assert settings == two.settings
    assert [each.metric for each in settings.objectives] == ["loss", "accuracy"]
    assert settings.constraints == (at_most("memory", 8),) and settings.known_points == ({"lr": 0.25},)


def test_a_tuple_has_the_objectives_in_their_order(two, studies):
    two.optimize(lambda trial: (0.5, 0.9), trials=1)
    assert list(studies.trials[0].values) == [0.5, 0.9]


def test_a_mapping_has_metrics_by_name(two, studies):
    two.optimize(lambda trial: {"accuracy": 0.9, "memory": 3, "loss": 0.5}, trials=1)
    assert studies.trials[0].value == 0.5 and studies.trials[0].metrics["memory"] == 3.0
    assert two.trials[0].metrics == {"accuracy": 0.9, "memory": 3.0, "loss": 0.5}


@pytest.mark.parametrize("returned", [0.5, (0.5, 0.9, 0.1), {"loss": 0.5}, None, ("a", 1.0)])
def test_an_objective_that_returns_something_else_fails_its_trial_and_says_what_is_wanted(two, returned):
    with pytest.raises(InvalidArgument):
        two.optimize(lambda trial: returned)
    assert two.trials[0].state is TrialState.FAILED and "InvalidArgument" in two.trials[0].state_reason


def test_errors_that_are_caught_fail_their_trial_alone(study):
    def objective(trial):
        if trial.number == 1:
            raise ValueError("no")
        return 1.0

    study.optimize(objective, catch=(ValueError,))
    assert [each.state.name for each in study.trials] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


def test_an_interrupt_fails_its_trial_and_the_next_call_goes_on(study):
    def interrupted(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted)
    assert study.trials[0].state_reason.startswith("KeyboardInterrupt")
    study.optimize(lambda trial: 1.0)
    assert [each.state.name for each in study.trials] == ["FAILED", "SUCCEEDED", "SUCCEEDED"]


def test_jobs_run_side_by_side_and_share_the_trials(study):
    together = threading.Barrier(3, timeout=20)
    study.optimize(lambda trial: together.wait() and 0.5 or 0.5, jobs=3)
    assert [each.state for each in study.trials] == [TrialState.SUCCEEDED] * 3


def test_an_error_of_one_job_ends_the_others_after_their_trial(study):
    started = threading.Barrier(2, timeout=20)

    def objective(trial):
        started.wait()
        if trial.number == 0:
            raise ZeroDivisionError
        return 1.0

    with pytest.raises(ZeroDivisionError):
        study.optimize(objective, jobs=2, trials=2)
    assert sorted(each.state.name for each in study.trials) == ["FAILED", "SUCCEEDED"]


def test_the_mean_of_the_repeats_is_told_and_the_first_ones_reports_are_kept(study, studies):
    seeds = []

    def objective(trial):
        seeds.append(trial.seed)
        trial.report(1, 10.0 + trial.repeat)
        return {"loss": float(trial.repeat), "accuracy": 0.5}

    study.optimize(objective, trials=1, repeats=3)
    trial = studies.trials[0]
    assert trial.value == 1.0 and [each.metrics["loss"] for each in trial.measurements] == [10.0]
    assert dict(trial.metrics) == {"loss": 1.0, "accuracy": 0.5, "repeats": 3.0, "loss_standard_deviation": 1.0}
    assert len(set(seeds)) == 3


def test_a_repeat_may_prune_its_trial(study):
    def objective(trial):
        if trial.repeat == 1:
            raise TrialPruned
        return 1.0

    study.optimize(objective, trials=1, repeats=2)
    assert study.trials[0].state is TrialState.PRUNED


@pytest.mark.parametrize(("name", "value"), [("jobs", 0), ("repeats", 0)])
def test_wrong_counts_are_named(study, name, value):
    with pytest.raises(InvalidArgument, match=f"{name}: is 0: give 1 or more"):
        study.optimize(lambda trial: 1.0, **{name: value})


def test_callbacks_are_called_with_each_trial_that_has_ended(study):
    seen = []
    study.optimize(lambda trial: 1.0, callbacks=[lambda of, trial: seen.append((of.name, trial.number, trial.state))])
    assert seen == [(study.name, number, TrialState.SUCCEEDED) for number in range(3)]


def test_points_are_enqueued(study, studies):
    study.enqueue({"lr": 0.5}, {"batch_size": 64})
    assert [sorted(each.hyperparameters) for each in studies.study.known_points] == [["lr"], ["batch_size"]]


def test_a_loop_keeps_one_stream(study, studies):
    study.optimize(lambda trial: trial.report(1, 0.5) or 0.5)
    assert studies.streams == 1 and len(studies.driven) == 10


@pytest.mark.parametrize("call", ["suggest", "report", "complete"])
def test_what_was_not_answered_is_sent_again_as_it_was_when_a_stream_breaks(study, studies, call):
    studies.driven_to_break = [call, call]
    study.optimize(lambda trial: trial.report(1, 0.5) or 0.5)
    sent = [each for each in studies.driven if each.WhichOneof("call") == call]
    assert sent[0] == sent[1] == sent[2]
    assert len(studies.trials) == 3 and [each.value for each in studies.trials] == [0.5] * 3
    assert [len(each.measurements) for each in studies.trials] == [1, 1, 1]


def test_an_error_of_a_call_ends_its_stream_and_no_other_call():
    streams = []

    def open_stream(requests):
        stream = Stream(requests)
        streams.append(stream)
        return stream

    class Stream:
        def __init__(self, requests):
            self.requests, self.is_cancelled = requests, False

        def __next__(self):
            if next(self.requests) == "wrong":
                raise NotFound("there is no such trial")
            return "answer"

        def cancel(self):
            self.is_cancelled = True

    driving = TrialStreams(open_stream)
    assert driving.exchange("right") == "answer"
    with pytest.raises(NotFound):
        driving.exchange("wrong")
    assert driving.exchange("right") == "answer"
    assert [each.is_cancelled for each in streams] == [True, False]
    driving.leave()
    assert streams[1].is_cancelled


def test_nobody_that_answers_is_an_error_after_a_while():
    def open_stream(requests):
        raise Unavailable("nobody")

    pauses = []
    with pytest.raises(Unavailable):
        TrialStreams(open_stream, retry_seconds=0.35, sleep=pauses.append).exchange("x")
    driving = TrialStreams(open_stream, retry_seconds=0.0, sleep=pauses.append)
    with pytest.raises(Unavailable):
        driving.exchange("x")


def test_a_loop_goes_on_when_its_trial_was_given_to_another_caller(study):
    def objective(trial):
        if trial.number == 0:
            raise FailedPrecondition("nothing was heard of its caller", reason="LEASE_LOST")
        return 1.0

    seen = []
    study.optimize(objective, callbacks=[lambda of, trial: seen.append(trial.number)])
    assert [each.state.name for each in study.trials] == ["RUNNING", "SUCCEEDED", "SUCCEEDED"] and seen == [1, 2]


def test_with_a_timeout_a_loop_renews_its_trial_and_waits_for_those_that_may_come_back(client):
    study = client.create_study(
        "timed", search_space=SPACE, objective=minimize("loss"), trials=1, trial_timeout_seconds=60
    )
    assert client.get_study("timed").settings.trial_timeout_seconds == 60
    held, renewals = study.ask(), client._coordinator.renewals
    assert list(renewals._due) == [held.run]
    with Client(client.address) as another:
        # Of another process, for whom the trial may come back.
        assert another.get_study("timed")._open_trials.may_give_more()
    # What is asked for beside a loop of the same process does not keep it.
    study.optimize(lambda trial: 1.0)
    held.tell(1.0)
    assert not renewals._due and not study._open_trials.may_give_more()


def test_a_loop_renews_nothing_that_it_could_not_end(client, monkeypatch):
    study = client.create_study(
        "timed", search_space=SPACE, objective=minimize("loss"), trials=1, trial_timeout_seconds=60
    )

    def unreachable(run, *told):
        raise Unavailable("gone")

    monkeypatch.setattr(client._coordinator, "complete_trial", unreachable)
    with pytest.raises(Unavailable):
        study.optimize(lambda trial: 1.0)
    assert not client._coordinator.renewals._due
