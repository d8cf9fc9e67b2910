"""Samplers through the SDK, on a coordinator of its own: grids end, auto says why, other backends search."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from hydro.client import Client, StudyState, choice, hyperband, integer, loguniform, minimize, population, uniform
from hydro.client.study_file import create_study
from hydro.kit.errors import FailedPrecondition, InvalidArgument, OutOfRange

SPACE = {
    "kind": choice(["plain", "deep"]),
    "depth": integer(1, 5, step=2).when(kind=["deep"]),
    "rate": uniform(0.1, 0.3, step=0.1),
}
POINTS = 3 + 3 * 3


async def test_a_grid_is_tried_whole_once_by_loops_in_parallel_and_its_study_ends(coordinator):
    await asyncio.to_thread(check_grid, coordinator.address)


def check_grid(address):
    with Client(address) as client:
        study = client.create_study(
            "grid", search_space=SPACE, objective=minimize("loss"), sampler="grid", trials=64, parallelism=4
        )
        assert study.snapshot().settings.max_trials == POINTS

        def loop(_):
            found = []
            while study.snapshot().state is StudyState.SEARCHING and (trial := ask(study)) is not None:
                found.append(dict(trial.hyperparameters))
                trial.tell(float(len(found)))
            return found

        with ThreadPoolExecutor(3) as loops:
            tried = [point for found in loops.map(loop, range(3)) for point in found]
        assert len({str(sorted(each.items())) for each in tried}) == len(tried) == POINTS
        assert study.wait().state is StudyState.SUCCEEDED


def ask(study):
    """A trial; None where no further one is made."""
    try:
        return study.ask()
    except (OutOfRange, FailedPrecondition):
        return None


FILE = """
id: {id}
task: toytask:Toy
source_path: .
search_space: {{lr: {{loguniform: [1e-3, 1]}}}}
objective: {{minimize: loss}}
{how}
trials: 8
parallelism: 8
"""


async def test_hyperband_bohb_and_populations_in_files_are_stored_as_they_are_written(coordinator, tmp_path):
    (tmp_path / "toytask.py").write_text("raise RuntimeError('nobody imports this in a server')\n")
    await asyncio.to_thread(check_files, coordinator.address, tmp_path)


def check_files(address, folder):
    pruner = "pruner: {hyperband: {min_steps: 1, max_steps: 27, eta: 3}}"
    files = {
        "hyperband": f"sampler: random\n{pruner}",
        "bohb": f"sampler: tpe\n{pruner}",
        "population": "sampler: random\npopulation: {interval_steps: 5, max_steps: 20, quantile: 0.5}",
    }
    with Client(address) as client:
        for name, how in files.items():
            file = folder / f"{name}.yaml"
            file.write_text(FILE.format(id=name, how=how))
            create_study(client, file)
        settings = {name: client.get_study(name).snapshot().settings for name in files}
    assert settings["hyperband"].pruner == settings["bohb"].pruner == hyperband(min_steps=1, max_steps=27, eta=3)
    assert (settings["hyperband"].sampler, settings["bohb"].sampler) == ("random", "tpe")
    assert settings["population"].population == population(interval_steps=5, max_steps=20, quantile=0.5)


async def test_auto_says_why_and_backends_search_or_are_refused_by_name(coordinator):
    await asyncio.to_thread(check_choices, coordinator.address)


def check_choices(address):
    space = {"lr": loguniform(1e-3, 1), "kind": choice(["a", "b"])}
    with Client(address) as client:
        options = {"search_space": space, "objective": minimize("loss"), "trials": 40, "parallelism": 4}
        chosen = client.create_study("auto", sampler="auto", **options).snapshot()
        assert chosen.settings.sampler == "tpe"
        assert chosen.sampler_reason.startswith("auto chose TPE: ")
        other = client.create_study("other", sampler="hyperopt", **options)
        for value in (0.3, 0.2):
            other.ask().tell(value)
        assert client.get_study("other").snapshot().settings.sampler == "hyperopt"
        with pytest.raises(InvalidArgument, match="external_sampler.*'annealing'.*hyperopt"):
            client.create_study("none", sampler="annealing", **options)
        with pytest.raises(InvalidArgument, match=r"parameters\[0\].float_domain.step.*'lr'"):
            client.create_study("none", sampler="grid", **options)
