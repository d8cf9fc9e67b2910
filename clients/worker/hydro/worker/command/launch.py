"""A trial's program as it is started: its arguments and its whole environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydro.client.commands import Command, Prometheus
from hydro.kit.template import filled, names_in, variable_name
from hydro.worker.command.place import TrialPlace
from hydro.worker.recipe import Lane, Recipe

PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME",
    "CUDA_MPS_PIPE_DIRECTORY",
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
)  # fmt: skip
"""Variables of the worker's environment that programs get; no other one reaches them."""

_OF_DOCKER = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the worker gives a trial. `address` and `token` are those of its TrialService, in `socket_folder`."""

    place: TrialPlace
    address: str
    token: str
    socket_folder: Path
    metrics_port: int


@dataclass(frozen=True, slots=True)
class Launch:
    """What is run. `cleanup` is run after the end, whatever the end was; empty: nothing."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    cleanup: tuple[str, ...] = ()


def launch(command: Command, recipe: Recipe, lane: Lane, around: Surroundings, inherited: Mapping[str, str]) -> Launch:
    """Gives the command of a lane, with what is its own put in."""
    values = {name: text_of(value) for name, value in lane.hyperparameters.items()}
    values |= _given(recipe, lane, around)
    arguments = tuple(filled(each, values) for each in command.arguments if names_in(each) <= values.keys())
    own = _own_environment(recipe, lane, around)
    own |= {name: filled(each, values) for name, each in command.environment.items() if names_in(each) <= values.keys()}
    if command.image:
        name = f"hydro-{Path(around.socket_folder).name}-{lane.trial.rsplit('/', 1)[1]}"
        arguments = (*docker_run(command, recipe, lane, around, name, own, inherited), *arguments)
        # The docker program's own variables, and those that it hands on by name.
        passed = {each: inherited[each] for each in _OF_DOCKER if each in inherited}
        return Launch(arguments, passed | own, around.place.directory, ("docker", "rm", "--force", name))
    environment = {each: inherited[each] for each in PASSED_ON if each in inherited} | own
    environment |= _python(recipe, inherited)
    return Launch(arguments, environment | _chosen(own), around.place.directory)


def text_of(value: object) -> str:
    """A hyperparameter's value as a program reads it: true and false as in JSON, a float with all its digits."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def trial_document(recipe: Recipe, lane: Lane) -> dict[str, Any]:
    """What HYDRO_TRIAL_FILE holds: the hyperparameters with their types."""
    return {
        "name": lane.trial,
        "hyperparameters": dict(lane.hyperparameters),
        "seed": lane.seed,
        "objective": recipe.objective,
        "max_steps": max(recipe.measured_steps, default=0),
    }


def docker_run(
    command: Command,
    recipe: Recipe,
    lane: Lane,
    around: Surroundings,
    name: str,
    environment: Mapping[str, str],
    inherited: Mapping[str, str],
) -> tuple[str, ...]:
    """Gives the words before the program's own: its directories at the same paths, and its variables by name.

    Values of variables are not among the words: every user of a machine sees those.
    """
    folders = [(path, "rw") for path in (around.place.directory, around.place.checkpoint_directory)]
    folders += [(around.socket_folder, "rw"), *([(Path(recipe.source_path), "ro")] if recipe.source_path else [])]
    words = ["docker", "run", "--rm", "--init", "--name", name, "--label", f"hydro.trial={lane.trial}"]
    words += ["--user", f"{os.getuid()}:{os.getgid()}", "--security-opt", "no-new-privileges"]
    words += ["--workdir", str(around.place.directory)]
    for path, mode in folders:
        words += ["--volume", f"{path}:{path}:{mode}"]
    if inherited.get("HYDRO_WORKER_CORES"):
        words += ["--cpuset-cpus", inherited["HYDRO_WORKER_CORES"]]
    if inherited.get("CUDA_VISIBLE_DEVICES"):
        words += ["--gpus", f'"device={inherited["CUDA_VISIBLE_DEVICES"]}"']
    if any(isinstance(each, Prometheus) for each in command.metrics):
        words += ["--publish", f"127.0.0.1:{around.metrics_port}:{around.metrics_port}"]
    for each in sorted(environment):
        words += ["--env", each]
    return (*words, command.image)


def _given(recipe: Recipe, lane: Lane, around: Surroundings) -> dict[str, str]:
    return {
        "hydro.trial": lane.trial,
        "hydro.seed": str(lane.seed),
        "hydro.source_path": recipe.source_path,
        "hydro.trial_directory": str(around.place.directory),
        "hydro.checkpoint_directory": str(around.place.checkpoint_directory),
        "hydro.metrics_port": str(around.metrics_port),
    }


def _own_environment(recipe: Recipe, lane: Lane, around: Surroundings) -> dict[str, str]:
    own = {
        "HYDRO_TRIAL_NAME": lane.trial,
        "HYDRO_TRIAL_ADDRESS": around.address,
        "HYDRO_TRIAL_TOKEN": around.token,
        "HYDRO_TRIAL_FILE": str(around.place.directory / "trial.json"),
        "HYDRO_TRIAL_DIRECTORY": str(around.place.directory),
        "HYDRO_CHECKPOINT_DIRECTORY": str(around.place.checkpoint_directory),
        "HYDRO_METRICS_PORT": str(around.metrics_port),
        "HYDRO_SEED": str(lane.seed),
        "HYDRO_MAX_STEPS": str(max(recipe.measured_steps, default=0)),
        "PYTHONUNBUFFERED": "1",
    }
    return own | {variable_name("HP_", name): text_of(value) for name, value in lane.hyperparameters.items()}


def _python(recipe: Recipe, inherited: Mapping[str, str]) -> dict[str, str]:
    """`python` is the one that runs the worker, and the program's folder is the first to be imported from."""
    paths = {"PATH": _joined([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])}
    imported = [each for each in (recipe.source_path, inherited.get("PYTHONPATH", "")) if each]
    return paths | ({"PYTHONPATH": _joined(imported)} if imported else {})


def _chosen(own: Mapping[str, str]) -> dict[str, str]:
    """What the user has chosen stands, also where we would."""
    return {name: own[name] for name in ("PATH", "PYTHONPATH") if name in own}


def _joined(folders: Sequence[str]) -> str:
    return os.pathsep.join(folders)
