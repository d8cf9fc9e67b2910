"""A study of the suite in others' tools: Optuna's plots and dashboard, MLflow, Weights & Biases, the real ones."""

import importlib.util
import io
import json
import struct
import warnings

import optuna
import pytest

from hydro.client import TrialPruned, at_most, choice, maximize, minimize, uniform

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None
HAS_WANDB = importlib.util.find_spec("wandb") is not None

SPACE = {"x": uniform(0, 1), "kind": choice(["even", "odd"]), "shift": uniform(0, 1).when(kind=["odd"])}
POINTS = [
    {"x": 0.25, "kind": "odd", "shift": 0.5},
    {"x": 0.5, "kind": "even"},
    {"x": 0.5, "kind": "odd", "shift": 0.25},
    {"x": 0.75, "kind": "even"},
]


def objective(trial):
    """Succeeds, is pruned, fails, and succeeds beyond the constraint."""
    x = trial.hyperparameters["x"]
    for step in (1, 2):
        trial.report(step, {"loss": x + 1 / step, "memory": x, "accuracy": 0.5 * step})
    if trial.number == 1:
        raise TrialPruned
    if trial.number == 2:
        raise ValueError("no")
    return {"loss": x, "memory": x}


@pytest.fixture(scope="module")
def study(client):
    made = client.create_study(
        "looked-at", search_space=SPACE, objective=minimize("loss"), constraints=[at_most("memory", 0.5)],
        known_points=POINTS, sampler="random", trials=len(POINTS),
    )  # fmt: skip
    made.optimize(objective, catch=(ValueError,))
    return made


@pytest.fixture(scope="module")
def storage(study, tmp_path_factory):
    """Optuna's, with the study in it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('optuna') / 'optuna.db'}"
    study.to_optuna(url)
    return url


def test_optunas_plots_draw_a_stored_study(storage):
    stored = optuna.load_study(study_name="looked-at", storage=storage)
    shown = {each.name: list(each.x) for each in optuna.visualization.plot_optimization_history(stored).data}
    assert (shown["Objective Value"], shown["Infeasible Trial"]) == ([0], [3])
    curves = optuna.visualization.plot_intermediate_values(stored).data
    # Optuna draws no failed trial.
    assert [list(each.y) for each in curves] == [[1.25, 0.75], [1.5, 1.0], [1.75, 1.25]]


@pytest.mark.filterwarnings("ignore")
def test_the_dashboard_shows_stored_studies(client, storage):
    from optuna_dashboard import wsgi

    front = client.create_study(
        "front-looked-at", search_space=SPACE, objective=[minimize("loss"), maximize("gain")], sampler="random",
        known_points=POINTS[:2], trials=2,
    )  # fmt: skip
    front.optimize(lambda trial: (trial.hyperparameters["x"], 1.0))
    front.to_optuna(storage)
    application = wsgi(storage)
    one, two = (shown_by(application, name, storage) for name in ("looked-at", "front-looked-at"))
    assert one["directions"] == ["minimize"] and two["directions"] == ["minimize", "maximize"]
    assert [each["state"] for each in one["trials"]] == ["Complete", "Pruned", "Fail", "Complete"]
    assert one["trials"][0]["constraints"] == [-0.25] and one["trials"][3]["constraints"] == [0.25]
    assert [each["values"] for each in two["trials"]] == [[0.25, 1.0], [0.5, 1.0]]


def shown_by(application, name, storage):
    """What the dashboard's pages ask its server for."""
    number = optuna.load_study(study_name=name, storage=storage)._study_id
    answered = []
    environment = {
        "REQUEST_METHOD": "GET", "PATH_INFO": f"/api/studies/{number}", "QUERY_STRING": "", "SERVER_NAME": "s",
        "SERVER_PORT": "80", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http",
    }  # fmt: skip
    body = b"".join(application(environment, lambda status, headers, *_: answered.append(status)))
    assert answered == ["200 OK"]
    return json.loads(body)


@pytest.mark.skipif(not HAS_MLFLOW, reason="mlflow is not installed: pip install 'hydro-client[mlflow]'")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_a_run_for_each_trial_once(study, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    from hydro.client.callbacks import MlflowCallback

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = MlflowCallback(tmp_path.as_uri())
        for _ in range(2):
            study.log_to(log)
        client = MlflowClient(tmp_path.as_uri())
        experiment = client.get_experiment_by_name(str(study.name))
        found = client.search_runs([experiment.experiment_id])
        runs = {each.data.tags["hydro.trial"]: each for each in found}
        first = runs[str(study.trials[0].name)]
        history = [(each.step, each.value) for each in client.get_metric_history(first.info.run_id, "accuracy")]
    assert len(found) == len(runs) == len(POINTS)
    assert first.data.params == {"x": "0.25", "kind": "odd", "shift": "0.5"}
    assert first.data.metrics == {"loss": 0.25, "accuracy": 1.0, "memory": 0.25}
    assert history == [(1, 0.5), (2, 1.0)]
    in_order = [runs[str(each.name)] for each in study.trials]
    assert [(each.data.tags["hydro.state"], each.info.status) for each in in_order] == [
        ("SUCCEEDED", "FINISHED"), ("PRUNED", "FINISHED"), ("FAILED", "FAILED"), ("SUCCEEDED", "FINISHED"),
    ]  # fmt: skip
    assert [each.data.tags.get("hydro.feasible") for each in in_order] == ["True", None, None, "False"]


@pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed: pip install 'hydro-client[wandb]'")
@pytest.mark.filterwarnings("ignore")
def test_wandb_gets_a_run_for_each_trial_offline(study, tmp_path):
    import wandb

    from hydro.client.callbacks import WandbCallback

    study.log_to(WandbCallback(mode="offline", dir=str(tmp_path)))
    # A run's file is whole once the library's own process has ended.
    wandb.teardown()
    found = [run_of(each) for each in (tmp_path / "wandb").glob("offline-run-*/*.wandb")]
    runs = {each["id"]: each for each in found}
    assert len(found) == len(POINTS)
    in_order = [runs[str(each.name).replace("/", "-")] for each in study.trials]
    assert [each["config"] for each in in_order] == POINTS
    # The end of one that has succeeded is at its last step, in the place of what it had measured there.
    assert [each["history"] for each in in_order] == [
        {
            1: {"loss": x + 1, "memory": x, "accuracy": 0.5},
            2: {"loss": x if succeeded else x + 0.5, "memory": x, "accuracy": 1.0},
        }
        for x, succeeded in ((0.25, True), (0.5, False), (0.5, False), (0.75, True))
    ]
    ends = [(each["summary"]["hydro.state"], each["tags"], each["exit_code"]) for each in in_order]
    assert ends == [
        ("SUCCEEDED", ["succeeded"], 0), ("PRUNED", ["pruned"], 0), ("FAILED", ["failed"], 1),
        ("SUCCEEDED", ["succeeded"], 0),
    ]  # fmt: skip
    assert [each["summary"].get("hydro.feasible") for each in in_order] == ["True", None, None, "False"]


def run_of(file):
    """What a run's file tells the server of Weights & Biases, once it is sent there."""
    run = {"config": {}, "history": {}, "summary": {}}
    for record in records_of(file.read_bytes()):
        match record.WhichOneof("record_type"):
            case "run":
                run |= {"id": record.run.run_id, "tags": list(record.run.tags)}
                run["config"] |= values_of(record.run.config.update)
            case "config":
                run["config"] |= values_of(record.config.update)
            case "history":
                run["history"].setdefault(record.history.step.num, {}).update(values_of(record.history.item))
            case "summary":
                run["summary"] |= values_of(record.summary.update)
            case "exit":
                run["exit_code"] = record.exit.exit_code
    return run


def values_of(items):
    """By name, without those of Weights & Biases' own."""
    named = {each.key or "/".join(each.nested_key): each for each in items}
    return {name: value_of(each) for name, each in named.items() if not name.startswith("_")}


def value_of(item):
    kind = item.WhichOneof("value") if "value" in item.DESCRIPTOR.oneofs_by_name else None
    return json.loads(item.value_json) if kind is None else getattr(item, kind)


def records_of(log):
    """The messages of a log in LevelDB's format: blocks of 32 KiB, after seven bytes that say whose it is."""
    from wandb.proto.wandb_internal_pb2 import Record

    place, message = 7, b""
    while place + 7 <= len(log):
        left = 32_768 - place % 32_768
        if left < 7:
            place += left
            continue
        length, part = struct.unpack_from("<HB", log, place + 4)
        place += 7 + length
        message += log[place - length : place]
        if part in (1, 4):
            # Whole, or the last part of it.
            yield Record.FromString(message)
            message = b""
