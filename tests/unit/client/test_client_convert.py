"""What the SDK sends is what it reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.api.coordinator.v1 import study_pb2
from hydro.client import (
    Command,
    InBubbles,
    asha,
    by_time,
    choice,
    constant,
    convert,
    hyperband,
    integer,
    json_lines,
    learning_curve,
    log_pattern,
    loguniform,
    median,
    minimize,
    no_pruning,
    patience,
    percentile,
    population,
    prometheus,
    successive_halving,
    surrogate,
    threshold,
    uniform,
)
from hydro.client.snapshots import StudySettings
from hydro.client.spaces import logint
from hydro.kit.errors import InvalidArgument
from hydro.kit.values import values_of

SPACE = {
    "optimizer": choice(["sgd", "adam"]),
    "lr": loguniform(1e-3, 1),
    "momentum": uniform(0.5, 0.99).when(optimizer=["sgd"]),
    "dropout": uniform(0, 0.5, step=0.1, transfer=False),
    "layers": integer(2, 8, step=2),
    "width": logint(8, 512),
    "nesterov": constant(True),
}


def settings(**changes):
    chosen = {
        "search_space": SPACE,
        "objective": minimize("validation_loss"),
        "sampler": "tpe",
        "pruner": asha(50, 800, 4),
        "surrogate": surrogate(0.125, depth=0.5, verify=["ladder"], accept_failed_checks=True),
        "max_trials": 64,
        "parallelism": 32,
        "seed": 7,
        "entry_point": "digits:Digits",
        "source_path": "/examples",
    }
    return StudySettings(**{**chosen, **changes})


@pytest.mark.parametrize(
    "pruner",
    [
        asha(50, 800, 4),
        hyperband(50, 800, 3),
        successive_halving(50, 800, 4, min_early_stopping_rate=1, bootstrap_count=2),
        median(10, 100, warmup_steps=20),
        percentile(25, 10, 100, startup_trials=3),
        threshold(10, 100, upper=0.0),
        learning_curve(10, 100, confidence=0.9),
        patience(None, 3, 10, 100),
        by_time(asha(3, 100), 60.0),
        by_time(median(10, 100), 60.0, warmup_seconds=90.0),
        patience(threshold(10, 100, lower=1.0), 3, 10, 100, min_delta=0.1),
        no_pruning(100),
    ],
)
def test_settings_survive_the_wire(pruner):
    sent = settings(pruner=pruner)
    message = convert.study_message(sent)
    message.name = "projects/default/studies/digits"
    message.state = study_pb2.STUDY_STATE_SEARCHING
    assert convert.study_snapshot(message).settings == sent


def test_a_command_survives_the_wire():
    sources = (log_pattern(r"(?P<loss>\d+)"), json_lines("metrics.jsonl"), prometheus(step_metric="step"))
    chosen = Command(["train", "${lr}"], environment={"A": "b"}, image="i", timeout_seconds=2, metrics=sources)
    sent = settings(entry_point="", command=chosen)
    message = convert.study_message(sent)
    message.name = "projects/default/studies/digits"
    message.state = study_pb2.STUDY_STATE_SEARCHING
    assert not message.HasField("task")
    assert convert.study_snapshot(message).settings == sent


def test_leave_to_run_in_bubbles_survives_the_wire():
    chosen = Command(["train"], in_bubbles=InBubbles(memory_bytes=4096, shortest_seconds=0.02))
    message = convert.study_message(settings(entry_point="", command=chosen))
    message.name, message.state = "projects/default/studies/digits", study_pb2.STUDY_STATE_SEARCHING
    assert convert.study_snapshot(message).settings.command == chosen


def test_an_argument_that_is_no_text_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"study.command.arguments\[1\]: 3 is a int; write it as text"):
        convert.study_message(settings(entry_point="", command=Command(["train", 3])))


def test_a_population_survives_the_wire():
    sent = settings(pruner=no_pruning(100), population=population(10, 100, quantile=0.5, perturbation=0.1))
    message = convert.study_message(sent)
    message.name = "projects/default/studies/digits"
    message.state = study_pb2.STUDY_STATE_SEARCHING
    assert convert.study_snapshot(message).settings == sent


@given(st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text()))
def test_a_value_keeps_its_type_and_itself(value):
    (read,) = values_of({"x": convert.checked_value_message(value, "x")}).values()
    assert type(read) is type(value)
    assert read == value


def test_a_value_that_is_no_scalar_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"parameters\[lr\]\.values.*give a bool") as caught:
        convert.search_space_message({"lr": choice([[1, 2]])})
    assert caught.value.violations[0].field == "study.search_space.parameters[lr].values"


@pytest.mark.parametrize("sampler", ["auto", "cmaes", "gp", "grid", "nsga2", "random", "sobol", "tpe", "annealing"])
def test_a_sampler_survives_the_wire_and_any_other_name_is_a_backends(sampler):
    message = convert.study_message(settings(sampler=sampler))
    message.name, message.state = "projects/default/studies/digits", study_pb2.STUDY_STATE_SEARCHING
    assert message.external_sampler == ("annealing" if sampler == "annealing" else "")
    message.sampler_reason = "because"
    found = convert.study_snapshot(message)
    assert (found.settings.sampler, found.sampler_reason) == (sampler, "because")


def test_a_parameter_that_is_no_domain_is_refused_by_name():
    with pytest.raises(InvalidArgument, match=r"parameters\[lr\]: 0\.1 is no domain"):
        convert.search_space_message({"lr": 0.1})


def test_an_empty_choice_reaches_the_service_as_an_empty_choice():
    (parameter,) = convert.search_space_message({"x": choice([])}).parameters
    assert parameter.WhichOneof("domain") == "categorical_domain"
