"""Studies through the whole suite: those beside the examples, smaller, so that they end in a minute, and others."""

import re
from pathlib import Path

import pytest

from end_to_end.patience import wait_until
from end_to_end.shell import hydro
from hydro.client import (
    Client,
    StudyState,
    TrialKind,
    TrialState,
    asha,
    at_most,
    choice,
    constant,
    integer,
    loguniform,
    maximize,
    minimize,
    no_pruning,
    population,
    prior,
    surrogate,
    uniform,
)
from hydro.client.study_file import read_study
from hydro.client.suite.local import LocalSuite

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = Path(__file__).with_name("tasks")
SMALL = {"trials": 16, "parallelism": 16, "pruner": asha(min_steps=4, max_steps=8, eta=2)}
TARGET_PARAMETERS = {"digits": 400_000, "char_lm": 400_000}
NOT_TRANSFERRED = {"digits": set(), "char_lm": {"dropout"}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def suite():
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1"})
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def client(suite):
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client


@pytest.mark.parametrize("example", ["digits", "char_lm"])
def test_an_example_is_shrunk_fused_searched_reproduced_and_transferred(client, suite, example) -> None:
    study = client.create_study(**{**read_study(EXAMPLES / f"{example}.yaml"), **SMALL})
    ended = study.wait()
    assert ended.state is StudyState.SUCCEEDED, ended.state_reason
    assert ended.warnings == ()
    assert ended.statistics.max_fusion_count > 1
    assert study.surrogate.width == 1 / 8
    assert study.surrogate.parameters < study.surrogate.target_parameters / 20
    best = study.best_trial
    assert (
        set(best.hyperparameters)
        == set(read_study(EXAMPLES / f"{example}.yaml")["search_space"]) - (NOT_TRANSFERRED[example])
    )
    assert "as one program" in best.log
    reproduced = hydro(suite, "trial", "reproduce", f"{study.name.study}/{best.number}")
    worst = re.search(r"^largest difference: (\S+) .*, over (\d+) values$", reproduced, re.MULTILINE)
    assert float(worst[1]) < 1e-3 and int(worst[2]) >= len(best.measurements)
    target = study.train_target()
    assert {each.hyperparameter for each in target.transfers} == set(study.settings.search_space)
    if NOT_TRANSFERRED[example]:
        assert study.retune_target(trials=2).value <= target.value + 1e-6
    weights = sum(tensor.numel() for name, tensor in target.state_dict().items() if "running" not in name)
    assert weights > TARGET_PARAMETERS[example]


ATTENDING = {"mixing": "attention", "heads": 4, "layers": 2, "length": 16}
ARCHITECTURES = [
    {"mixing": "attention", "heads": 2, "layers": 1, "length": 8, "lr": 0.01},
    *({**ATTENDING, "lr": lr} for lr in (0.005, 0.01, 0.02, 0.03)),
    {"mixing": "perceptron", "layers": 2, "length": 8, "lr": 0.01},
]


def test_architectures_are_searched_like_any_other_hyperparameter(client) -> None:
    space = {
        "lr": loguniform(1e-3, 1e-1),
        "mixing": choice(["perceptron", "attention"]),
        "heads": choice([2, 4]).when(mixing=["attention"]),
        "layers": integer(1, 2),
        "length": choice([8, 16]),
    }
    study = client.create_study(
        "architectures",
        task="shaped_transformer:ShapedTransformer",
        source_path=str(TASKS),
        search_space=space,
        objective=minimize("validation_loss"),
        known_points=ARCHITECTURES,
        pruner=asha(min_steps=2, max_steps=4, eta=2),
        surrogate=surrogate(width=1 / 2),
        trials=6,
        parallelism=6,
    )
    ended = study.wait(timeout_seconds=300)
    assert ended.state is StudyState.SUCCEEDED, ended.state_reason
    trials = study.trials
    assert [dict(each.hyperparameters) for each in trials] == ARCHITECTURES
    assert {each.state for each in trials} <= {TrialState.SUCCEEDED, TrialState.PRUNED}
    assert all(each.measurements and ("heads" in each.hyperparameters) is attends(each) for each in trials)
    # Those of one architecture are lanes of one program.
    assert all("as one program" in each.log for each in trials[1:5])
    assert ended.statistics.max_fusion_count >= 2
    # The target has the architecture of the trial, in full width.
    target = study.train_target(trials[1].hyperparameters)
    weights = target.state_dict()
    assert weights["position"].shape == (16, 32) and "blocks.1.projection.weight" in weights
    assert {each.kind.value for each in target.transfers if each.hyperparameter != "lr"} == {"TRANSFERRED"}


def attends(trial) -> bool:
    return trial.hyperparameters["mixing"] == "attention"


def start_slow(client, study_id, batch_seconds, width=1 / 2):
    return client.create_study(
        study_id,
        task="slow_perceptron:SlowPerceptron",
        source_path=str(TASKS),
        search_space={"lr": loguniform(1e-2, 1), "batch_seconds": constant(batch_seconds)},
        objective=minimize("validation_loss"),
        sampler="random",
        pruner=no_pruning(40, interval_steps=4),
        surrogate=surrogate(width=width),
        trials=4,
        parallelism=4,
    )


def losses(study):
    return {
        (trial.number, each.step): each.metrics["validation_loss"]
        for trial in study.trials
        for each in trial.measurements
    }


def test_a_fused_study_paused_in_mid_trial_ends_as_one_that_was_not(client) -> None:
    study = start_slow(client, "paused", 0.1)
    wait_until(lambda: {(number, 8) for number in range(4)} <= losses(study).keys(), "all are measured at step 8")
    study.pause()
    wait_until(lambda: not any(device.lease for device in client.list_devices()), "the devices are free")
    assert study.state is StudyState.PAUSED
    trials, before = study.trials, losses(study)
    # Each is kept where it was, which is further than the start and not the end.
    assert {each.state for each in trials} == {TrialState.PENDING}
    assert all(each.snapshot.checkpoint and 8 <= each.steps < 40 for each in trials)
    study.resume()
    assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
    assert study.statistics.max_fusion_count > 1
    after = losses(study)
    assert before.items() <= after.items()
    assert {each.state for each in study.trials} == {TrialState.SUCCEEDED}
    straight = start_slow(client, "straight", 0.0)
    straight.wait(timeout_seconds=200)
    assert after == pytest.approx(losses(straight), rel=1e-5)
    assert len(after) == 4 * 40 / 4


def test_a_cancelled_fused_study_gives_its_devices_back_and_trains_no_further(client) -> None:
    study = start_slow(client, "cancelled", 0.1, width=1)
    wait_until(lambda: {(number, 4) for number in range(4)} <= losses(study).keys(), "all are measured")
    assert {each.state for each in study.trials} == {TrialState.RUNNING}
    assert study.statistics.max_fusion_count > 1
    assert any(device.lease for device in client.list_devices())
    study.cancel()
    cancelled = study.trials
    assert {each.state for each in cancelled} == {TrialState.CANCELLED}
    assert {each.state_reason for each in cancelled} == {"the study was cancelled"}
    assert all(each.steps < 40 for each in cancelled)
    before = losses(study)
    wait_until(lambda: not any(device.lease for device in client.list_devices()), "the devices are free")
    assert study.state is StudyState.CANCELLED
    assert losses(study) == before and [each.steps for each in study.trials] == [each.steps for each in cancelled]


TRADE_OFF = {
    "search_space": {"lr": loguniform(1e-2, 1), "reach": uniform(0.1, 1), "waste": uniform(0, 0.4)},
    "objective": [minimize("price"), maximize("gain")],
    "constraints": [at_most("memory", 50)],
    "sampler": "tpe",
    "trials": 16,
}
PRICED_POINTS = [
    {"lr": 0.1, "reach": 0.2, "waste": 0},
    # Its optimizer refuses this one.
    {"lr": 0.95, "reach": 0.3, "waste": 0},
    {"lr": 0.1, "reach": 0.4, "waste": 0},
    # Worse than the one before in both.
    {"lr": 0.2, "reach": 0.4, "waste": 0.1},
    # It takes too much.
    {"lr": 0.2, "reach": 0.8, "waste": 0},
]
REFUSED = 1


def trade(trial):
    reach, waste = trial.hyperparameters["reach"], trial.hyperparameters["waste"]
    return {"price": reach + waste, "gain": reach - waste, "memory": 100 * reach}


@pytest.fixture(scope="module")
def priced(client):
    """A fused study for a front under a constraint, which begins with the trials of a driven one; it has ended."""
    client.create_study("told", **{**TRADE_OFF, "sampler": "random", "trials": 40}).optimize(trade)
    study = client.create_study(
        "priced",
        task="priced_perceptron:PricedPerceptron",
        source_path=str(TASKS),
        **TRADE_OFF,
        known_points=PRICED_POINTS,
        prior=[prior("told")],
        pruner=no_pruning(4),
        surrogate=surrogate(width=1 / 2),
        parallelism=4,
    )
    assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
    return study


def test_a_fused_study_searches_for_the_front_of_the_trials_that_keep_its_constraint(priced) -> None:
    assert priced.statistics.max_fusion_count > 1
    found = [each for each in priced.trials if each.state is TrialState.SUCCEEDED]
    for each in found:
        told = trade(each)
        assert each.values == pytest.approx((told["price"], told["gain"]))
        assert {name: each.metrics[name] for name in told} == pytest.approx(told)
    feasible = [each for each in found if each.hyperparameters["reach"] <= 0.5]
    assert [each.number for each in found if each.feasible] == [each.number for each in feasible]
    front = [one.number for one in feasible if not any(is_better(other, one) for other in feasible)]
    assert sorted(each.number for each in priced.best_trials) == front
    assert {0, 2} <= set(front) and not {REFUSED, 3, 4} & set(front)


def is_better(one, other) -> bool:
    """Whether a trial is better than another one in an objective, and in none worse."""
    (price, gain), (other_price, other_gain) = one.values, other.values
    return price <= other_price and gain >= other_gain and one.values != other.values


def test_a_fused_study_begins_where_the_trials_of_another_have_led(client, priced) -> None:
    suggested = priced.trials[len(PRICED_POINTS)]
    assert suggested.snapshot.known_point is None
    assert suggested.replay() == dict(suggested.hyperparameters)
    # Without the prior the same search draws its first suggestion at random.
    plain = client.create_study("plain", **TRADE_OFF, known_points=PRICED_POINTS, parallelism=1)
    plain.optimize(trade, trials=len(PRICED_POINTS) + 1)
    assert dict(plain.trials[suggested.number].hyperparameters) != dict(suggested.hyperparameters)
    plain.cancel()


def test_a_lane_whose_own_code_raises_fails_alone_with_its_traceback(suite, priced) -> None:
    refused = priced.get_trial(REFUSED)
    assert refused.state is TrialState.FAILED
    assert refused.state_reason == "ValueError after 0 steps: lr is 0.95: give 0.9 or less"
    assert refused.retries == ()
    failed = {each.number for each in priced.trials if each.state is not TrialState.SUCCEEDED}
    assert failed == {each.number for each in priced.trials if each.hyperparameters["lr"] > 0.9}
    # It came to its program together with others.
    first_lines = [priced.get_trial(number).log.splitlines()[0] for number in (0, 2, 3)]
    assert refused.log.splitlines()[0] in first_lines and "as one program" in first_lines[0]
    printed = hydro(suite, "trial", "log", "priced", str(REFUSED))
    assert "priced_perceptron.py" in printed and 'raise ValueError(f"lr is' in printed


def test_a_target_is_trained_by_the_schedule_of_a_fused_populations_best_member(client) -> None:
    study = client.create_study(
        "population",
        task="priced_perceptron:PricedPerceptron",
        source_path=str(TASKS),
        search_space={"lr": loguniform(1e-2, 0.5), "reach": uniform(0.1, 1)},
        objective=minimize("price"),
        sampler="random",
        population=population(4, 12, quantile=0.5),
        surrogate=surrogate(width=1),
        trials=8,
        seed=1,
    )
    assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
    assert study.statistics.max_fusion_count > 1
    best = study.best_trial
    assert len(best.schedule) > 1
    target = study.train_target().trial
    assert target.kind is TrialKind.TARGET
    # What it measures at a step is what it was trained with up to there.
    reaches = {each.step: each.hyperparameters["reach"] for each in best.schedule}
    in_force = {step: reaches[max(start for start in reaches if start < step)] for step in (4, 8, 12)}
    measured = {each.step: each.metrics["price"] for each in target.measurements}
    assert measured == pytest.approx(in_force)
