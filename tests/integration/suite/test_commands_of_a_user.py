"""`hydro study ...` and `hydro trial ...` as a user types them, on a suite of one's own: what is done and printed."""

import io
import json

import optuna
import pandas
import pytest
from typer.testing import CliRunner

from hydro.client import (
    Client,
    StudyState,
    TrialState,
    by_time,
    maximize,
    median,
    minimize,
    patience,
    prior,
    uniform,
)
from hydro.client.command.main import build
from hydro.client.command.output import pairs
from hydro.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted

FILE = """
id: typed
search_space:
  x: {uniform: [0, 1]}
  kind: {choice: [even, odd]}
  shift: {uniform: [0, 1], when: {kind: [odd]}}
  layers: {integer: [2, 8], step: 2, transfer: false}
  seed: {constant: 7}
objective: {minimize: loss}
constraints: {size: {max: 0.9}}
known_points: [{x: 0.95, kind: even}]
sampler: random
seed: 11
pruner: {median: {interval_steps: 1, max_steps: 4}}
stopping: {target_value: -1, max_duration_seconds: 3600, max_trials_without_improvement: 1000}
failure_budget: 5
trial_timeout_seconds: 600
tags: {team: typists}
trials: 8
parallelism: 2
"""


def objective(trial):
    if trial.number == 1:
        raise ValueError("no such file: [/data]")
    x = float(trial.hyperparameters["x"])
    for step in (1, 2):
        trial.report(step, {"loss": x + 1 / step, "size": x})
    return {"loss": x, "size": x}


@pytest.fixture(scope="module")
def hydro(client):
    """Runs the command, and gives what it prints."""

    def run(*arguments, status=0):
        given = [*arguments, "--address", client.address]
        result = CliRunner().invoke(build(given), given, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    return run


@pytest.fixture(scope="module")
def study(hydro, client, tmp_path_factory):
    """Created by the command, six of its eight trials are made."""
    file = tmp_path_factory.mktemp("files") / "study.yaml"
    file.write_text(FILE)
    assert hydro("study", "create", str(file)) == "created typed\n"
    created = client.get_study("typed")
    created.optimize(objective, trials=6, catch=(ValueError,))
    return created


def test_a_study_is_found_in_the_list_by_its_state_and_its_tags(hydro, study):
    head, row = hydro("study", "list", "--state", "SEARCHING", "--tag", "team=typists").splitlines()
    assert head.split() == ["study", "state", "trials", "task"]
    assert row.split() == ["typed", "SEARCHING", "failed", "1", "succeeded", "5", "of", "8", "-"]
    assert len(hydro("study", "list", "--state", "FAILED", "--tag", "team=typists").splitlines()) == 1
    (listed,) = json.loads(hydro("study", "list", "--tag", "team=typists", "--json"))
    assert listed["name"] == "projects/default/studies/typed"
    with pytest.raises(InvalidArgument, match="--tag: 'team': give KEY=VALUE"):
        hydro("study", "list", "--tag", "team")


def test_studies_are_listed_page_by_page_and_no_more_of_them_than_are_wanted(hydro, client, monkeypatch):
    monkeypatch.setattr("hydro.client.calls._PAGE_SIZE", 2)
    space = {"x": uniform(0, 1)}
    with Client(client.address, project="paged") as paged:
        for number in range(5):
            paged.create_study(f"number-{number}", search_space=space, objective=minimize("loss"), sampler="random")
        names = [f"number-{number}" for number in (4, 3, 2, 1, 0)]
        assert [each.name.study for each in paged.list_studies()] == names
        assert [each.name.study for each in paged.list_studies(limit=3)] == names[:3]
        assert [each.name.study for each in paged.list_snapshots(limit=3)] == names[:3]
    _, *rows = hydro("study", "list", "--project", "paged", "--limit", "3").splitlines()
    assert [row.split()[0] for row in rows] == names[:3]


def test_show_prints_what_was_chosen_and_how_it_goes(hydro, study):
    best = study.best_trial
    shown = hydro("study", "show", "typed").splitlines()
    assert shown[0].split() == ["typed", "SEARCHING"]
    assert [line for line in shown[1:] if not line.startswith(("bundles", "steps", "devices"))] == [
        "trials   failed 1  succeeded 5  of 8, 2 at once",
        "task     -",
        "space    x a number from 0 to 1",
        "         kind one of even, odd",
        "         shift a number from 0 to 1, where kind is odd",
        "         layers a whole number from 2 to 8 in steps of 2, does not transfer",
        "         seed 7",
        "goal     minimize loss",
        "within   size <= 0.9",
        "points   1 known, tried first",
        "sampler  random",
        "seed     11",
        "pruner   median  interval_steps=1  max_steps=4  warmup_steps=0  startup_trials=5",
        "ends     at the value -1",
        "         after 3600 s of search",
        "         after 1000 trials without improvement",
        "retries  3, fails with 5 failed trials",
        "timeout  600 s without a word of its caller: a trial is another's",
        "tags     team=typists",
        f"best     trial {best.number}: loss={best.value:.4g}",
        f"         {pairs(best.hyperparameters)}",
    ]
    settings = json.loads(hydro("study", "show", "typed", "--json"))["settings"]
    assert settings["constraints"] == [{"metric": "size", "min": "-Infinity", "max": 0.9}]
    with pytest.raises(NotFound, match="projects/default/studies/none"):
        hydro("study", "show", "none")


def test_show_says_who_chose_the_sampler_and_what_is_nested_in_a_rule(hydro, client):
    space, loss = {"x": uniform(0, 1)}, minimize("loss")
    earlier = client.create_study("earlier", search_space=space, objective=loss, sampler="random", trials=1)
    earlier.ask().tell(0.5)
    pruner = by_time(patience(median(1, 4, startup_trials=3), 2, 1, 4, min_delta=0.5), 10, warmup_seconds=20)
    study = client.create_study(
        "explained", search_space=space, objective=loss, sampler="auto", prior=[prior("earlier", weight=0.25)],
        pruner=pruner, trials=40,
    )  # fmt: skip
    shown = hydro("study", "show", "explained").splitlines()
    study.cancel()
    assert [line for line in shown if line.startswith(("prior", "sampler", "pruner"))] == [
        "prior    projects/default/studies/earlier, weight 0.25",
        "sampler  tpe: auto chose TPE: most trials are pruned, and TPE learns from those too",
        "pruner   by_time  rule=(patience  rule=(median  interval_steps=1  max_steps=4  warmup_steps=0  "
        "startup_trials=3)  patience=2  interval_steps=1  max_steps=4  min_delta=0.5)  interval_seconds=10  "
        "warmup_seconds=20",
    ]


def test_show_prints_every_goal_and_every_trial_that_none_is_better_than(hydro, client):
    study = client.create_study(
        "goals", search_space={"x": uniform(0, 1)}, objective=[minimize("loss"), maximize("gain")], sampler="random",
        known_points=[{"x": 0.25}, {"x": 0.5}, {"x": 0.75}], trials=3,
    )  # fmt: skip
    study.optimize(lambda trial: (trial.hyperparameters["x"], 1.0 if trial.number else 0.5))
    shown = hydro("study", "show", "goals").splitlines()
    goal, best = shown.index("goal     minimize loss"), shown.index("best     trial 0: loss=0.25  gain=0.5")
    assert shown[goal + 1] == "         maximize gain"
    assert shown[best + 1 :] == ["         x=0.25", "best     trial 1: loss=0.5  gain=1", "         x=0.5"]


def test_trials_are_listed_by_number_or_the_best_first(hydro, study):
    head, *rows = hydro("study", "trials", "typed").splitlines()
    assert head.split() == ["trial", "state", "steps", "value", "hyperparameters"]
    assert [row.split()[:2] for row in rows] == [[str(each.number), each.state.name] for each in study.trials]
    # A line holds all of a trial's hyperparameters, however narrow the place that it goes to.
    assert all(f"layers={each.hyperparameters['layers']}" in row for row, each in zip(rows, study.trials, strict=True))
    _, *rows = hydro("trial", "list", "typed", "--best", "--limit", "2", "--state", "SUCCEEDED").splitlines()
    best = study.list_trials(best_first=True, limit=2)
    assert [int(row.split()[0]) for row in rows] == [each.number for each in best]
    assert [each["state"] for each in json.loads(hydro("study", "trials", "typed", "--json"))][1] == "FAILED"


def test_a_trial_is_shown_with_its_value_its_measurements_its_log_and_its_tags(hydro, study):
    assert hydro("trial", "tag", "typed", "0", "--tag", "keep=yes") == "trial 0  keep=yes\n"
    head, values, value, end, used, tags, _, *measured = hydro("trial", "show", "typed", "0").splitlines()
    assert head.split() == ["trial", "0", "SEARCH", "SUCCEEDED"] and "layers=" in values
    assert (value, end) == ("value loss=0.95  beyond a constraint", "end size=0.95")
    assert used.startswith("2 steps, ") and tags == "tags keep=yes"
    assert [line.split()[0] for line in measured] == ["1", "2"] and "loss=" in measured[0]
    best = study.best_trial
    assert f"value loss={best.value:.4g}  keeps the constraints" in hydro("trial", "show", "typed", f"{best.number}")
    failed = hydro("trial", "show", "typed", "1")
    assert "ValueError: no such file: [/data]" in failed and "\nvalue " not in failed
    assert len(hydro("trial", "list", "typed", "--tag", "keep=yes").splitlines()) == 2
    log = hydro("trial", "log", "typed", "1")
    assert "ValueError: no such file" in log and "raise ValueError" in log
    assert hydro("trial", "replay", "typed", "2").splitlines()[-1] == "the same"


def test_tags_of_a_study_are_added_and_removed(hydro, study):
    assert hydro("study", "tag", "typed", "--tag", "stage=2") == "typed  stage=2  team=typists\n"
    assert hydro("study", "tag", "typed", "--remove", "stage") == "typed  team=typists\n"


def test_a_paused_study_gives_no_trial_until_it_is_resumed(hydro, study):
    assert hydro("study", "pause", "typed") == "paused typed\n"
    assert hydro("study", "show", "typed").split()[1] == "PAUSED"
    with pytest.raises(FailedPrecondition):
        study.ask()
    assert hydro("study", "resume", "typed") == "resumed typed\n"
    assert study.state is StudyState.SEARCHING


def test_importance_is_shown_by_hyperparameter(hydro, study):
    head, *rows = hydro("study", "importance", "typed").splitlines()
    assert head.split() == ["hyperparameter", "share"]
    shares = {row.split()[0]: float(row.split()[1].rstrip("%")) for row in rows}
    assert next(iter(shares)) == "x" and sum(shares.values()) == pytest.approx(100, abs=0.5)


def test_trials_are_exported_as_csv(hydro, study, tmp_path):
    table = pandas.read_csv(io.StringIO(hydro("study", "export", "typed")))
    assert list(table["state"]) == [each.state.name for each in study.trials]
    assert list(table["hyperparameters_layers"]) == [each.hyperparameters["layers"] for each in study.trials]
    file = tmp_path / "typed.csv"
    assert hydro("study", "export", "typed", "--output", str(file)).endswith("typed.csv: 6 trials\n")
    assert pandas.read_csv(file).equals(table)
    with pytest.raises(InvalidArgument, match="--output: .*none.*cannot be written"):
        hydro("study", "export", "typed", "--output", str(tmp_path / "none" / "typed.csv"))


def test_a_study_is_exported_into_an_optuna_storage_once(hydro, study, tmp_path):
    storage = f"sqlite:///{tmp_path / 'typed.db'}"
    printed = hydro("study", "export", "typed", "--format", "optuna", "--output", storage)
    assert printed == f"written {storage}: 6 trials; look at them with: optuna-dashboard {storage}\n"
    again = optuna.load_study(study_name="typed", storage=storage)
    assert again.best_trial.number == study.best_trial.number
    with pytest.raises(AlreadyExists, match="has a study 'typed'"):
        hydro("study", "export", "typed", "--format", "optuna", "--output", storage)
    with pytest.raises(InvalidArgument, match="--output: give the URL of an Optuna storage: sqlite:///typed.db"):
        hydro("study", "export", "typed", "--format", "optuna")


def test_an_enqueued_point_is_tried_next_and_a_watch_ends_with_the_study(hydro, study):
    assert hydro("study", "enqueue", "typed", "x=0.5", "kind=even") == "enqueued typed  x=0.5  kind=even\n"
    trial = study.ask()
    assert (trial.hyperparameters["x"], trial.hyperparameters["kind"]) == (0.5, "even")
    before = json.loads(hydro("study", "show", "typed", "--json"))
    trial.tell(objective(trial))
    study.optimize(objective)
    assert hydro("study", "watch", "typed").split()[:2] == ["typed", "SUCCEEDED"]
    assert before["state"] == "SEARCHING"
    last = [json.loads(line) for line in hydro("study", "watch", "typed", "--json").splitlines()][-1]
    assert (last["study"]["state"], len(last["trials"])) == ("SUCCEEDED", 8)
    # Who comes back after the end is told of it, and of no trial again.
    again = json.loads(hydro("study", "watch", "typed", "--json", "--resume-token", last["resume_token"]))
    assert (again["study"]["state"], again["trials"], again["resume_token"]) == ("SUCCEEDED", [], last["resume_token"])
    with pytest.raises(InvalidArgument, match="--resume-token: belongs to --json"):
        hydro("study", "watch", "typed", "--resume-token", last["resume_token"])


def test_a_cancelled_study_ends_its_watch_with_status_1_and_can_be_deleted(hydro, client, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(FILE.replace("id: typed", "id: dropped"))
    hydro("study", "create", str(file))
    trial = client.get_study("dropped").ask()
    with pytest.raises(FailedPrecondition):
        hydro("study", "delete", "dropped")
    assert hydro("study", "cancel", "dropped") == "cancelled dropped\n"
    assert trial.refresh().state is TrialState.CANCELLED
    hydro("study", "watch", "dropped", status=1)
    hydro("study", "watch", "dropped", "--json", status=1)
    assert hydro("study", "delete", "dropped") == "deleted dropped\n"
    with pytest.raises(NotFound):
        hydro("study", "show", "dropped")


def test_devices_are_listed(hydro):
    assert hydro("device", "list").split()[:3] == ["device", "kind", "state"]
    assert json.loads(hydro("device", "list", "--json")) == []


def test_a_project_is_shown_with_what_it_may_have_and_has(hydro, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(FILE)
    hydro("study", "create", str(file), "--project", "small")
    assert hydro("project", "small").splitlines() == [
        "small",
        "open     1 studies, at most 2",
        "trials   in a study, at most 10",
        "reports  a second, as many as are wanted",
    ]
    assert json.loads(hydro("project", "small", "--json"))["quota"]["trials_per_study"] == 10
    file.write_text(FILE.replace("trials: 8", "trials: 11"))
    with pytest.raises(ResourceExhausted, match="trials_per_study is 10"):
        hydro("study", "create", str(file), "--project", "small")
