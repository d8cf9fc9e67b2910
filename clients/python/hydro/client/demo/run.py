"""The demo's course."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hydro.client.client import Client
from hydro.client.demo.exclusive_device import join
from hydro.client.demo.figures import Figures, mean, seconds_per_trial, unfused_seconds_per_trial, wall_seconds
from hydro.client.demo.pipeline import PipelineStep, ReplayedPipeline, mean_seconds
from hydro.client.demo.summary import print_summary
from hydro.client.objectives import minimize
from hydro.client.pruning import asha
from hydro.client.snapshots import StudySnapshot
from hydro.client.spaces import choice, loguniform, uniform
from hydro.client.study import Study
from hydro.client.suite.local import LocalSuite
from hydro.client.surrogates import surrogate
from hydro.client.target import Target
from hydro.kit.errors import NotFound

TRIALS = 64
MIN_STEPS = 16
MAX_STEPS = 64
SEEDS = (0, 1, 2)
METRIC = "accuracy"
STEPS = 16
"""Of the pipeline run, measured alone and with trials in its bubbles."""
STEPS_SECONDS = 30.0
"""Measuring them alone takes no longer than this."""
SLOT_TRIAL_STEPS = 320
"""The slot works alone until it has done so many: more than a tenth of the study's."""
SLOT_SECONDS = 60.0
"""The slot works alone no longer than this."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The core of the exclusive device, and the one that the pipeline run and its slot share."""

    exclusive: int
    slot: int


def run_demo(json_file: Path | None, examples: Path | None = None) -> Figures:
    """Runs the demo, prints its summary, and writes its figures to `json_file`.

    Raises:
        HydroError: a part of the suite does not do what it should; the message says which.
    """
    console = Console()
    source = examples or find_examples()
    cores = _cores()
    with tempfile.TemporaryDirectory(prefix="hydro-demo-") as folder:
        _say(console, "starting the suite: Postgres, coordinator, tuner, squeezer")
        suite = LocalSuite.start(_environment(cores))
        try:
            figures = _measure(suite, cores, source, Path(folder), console)
        finally:
            _say(console, "stopping everything")
            suite.stop()
    print_summary(figures, console)
    if json_file is not None:
        figures.write(json_file)
    return figures


def find_examples() -> Path:
    """The folder of digits.py: below the working directory, or in the repository this package was installed from.

    Raises:
        NotFound: it is in neither.
    """
    repository = Path(__file__).resolve().parents[5]
    for folder in (Path.cwd() / "examples", repository / "examples"):
        if (folder / "digits.py").exists():
            return folder
    raise NotFound("examples/digits.py is not here: run `hydro demo` in a clone of Hydro's repository")


def _measure(suite: LocalSuite, cores: Cores, source: Path, folder: Path, console: Console) -> Figures:
    with ExitStack() as stack:
        client = stack.enter_context(Client(suite.coordinator_address, tuner_address=suite.tuner_address))
        pipeline = stack.enter_context(ReplayedPipeline(suite, cores.slot, folder))
        _say(console, f"a pipeline run goes on, on core {cores.slot}: measuring its steps while it is alone")
        alone = _steps_alone(pipeline)
        study = _create(client, source)
        _say(console, f"study [bold]digits[/]: {TRIALS} trials, TPE, ASHA; at first in the run's bubbles alone")
        squeezed = _steps_squeezed(study, pipeline)
        _say(console, f"an exclusive device joins: core {cores.exclusive}")
        stack.enter_context(join(client, "exclusive", cores.exclusive, folder))
        ended = study.wait(progress=True)
        _say(console, f"the pipeline run ends; training the target, {len(SEEDS)} seeds, transferred and defaults")
        pipeline.stop()
        stack.enter_context(join(client, "second", cores.slot, folder))
        return _figures(study, ended, (alone, squeezed), _train_targets(study))


def _environment(cores: Cores) -> dict[str, str]:
    return {
        "HYDRO_COORDINATOR_DEVICES": "",
        "HYDRO_SQUEEZER_DEVICE": f"devices/core-{cores.slot}",
        "HYDRO_SQUEEZER_GPU": "simulated",
        "OMP_NUM_THREADS": "1",
    }


def _cores() -> Cores:
    usable = sorted(os.sched_getaffinity(0))
    return Cores(exclusive=usable[0], slot=usable[-1])


def _steps_alone(pipeline: ReplayedPipeline) -> list[PipelineStep]:
    # The first steps warm the caches, and the squeezer's forecast.
    pipeline.wait_for_steps(5)
    begin_ns = time.monotonic_ns()
    pipeline.wait_for_steps(STEPS, begin_ns, STEPS_SECONDS)
    return pipeline.steps(begin_ns)


def _create(client: Client, source: Path) -> Study:
    return client.create_study(
        "digits",
        task="digits:Digits",
        source_path=str(source),
        search_space={
            "lr": loguniform(1e-3, 1),
            "momentum": uniform(0.5, 0.99),
            "batch_size": choice([64, 128]),
            "weight_decay": loguniform(1e-6, 1e-2),
        },
        objective=minimize("validation_loss"),
        sampler="tpe",
        pruner=asha(min_steps=MIN_STEPS, max_steps=MAX_STEPS, eta=2),
        surrogate=surrogate(width=1 / 8),
        trials=TRIALS,
        parallelism=32,
        seed=0,
    )


def _steps_squeezed(study: Study, pipeline: ReplayedPipeline) -> list[PipelineStep]:
    """Steps with trials in their bubbles, while the slot is the only device."""
    begin_ns = time.monotonic_ns()

    def is_measured(snapshot: StudySnapshot) -> bool:
        steps = _squeezed(pipeline, begin_ns)
        is_late = bool(steps) and time.monotonic_ns() - steps[0].begin_ns > SLOT_SECONDS * 1e9
        return is_late or (len(steps) >= STEPS and snapshot.statistics.slot_trial_steps >= SLOT_TRIAL_STEPS)

    study.wait(progress=True, until=is_measured)
    return _squeezed(pipeline, begin_ns)


def _squeezed(pipeline: ReplayedPipeline, begin_ns: int) -> list[PipelineStep]:
    return [each for each in pipeline.steps(begin_ns) if each.squeezed]


def _train_targets(study: Study) -> tuple[list[Target], list[Target]]:
    transferred = [study.train_target(seed=seed, wait=False) for seed in SEEDS]
    defaults = [study.train_target(defaults=True, seed=seed, wait=False) for seed in SEEDS]
    for each in (*transferred, *defaults):
        each.wait()
    return transferred, defaults


def _figures(
    study: Study,
    ended: StudySnapshot,
    steps: tuple[list[PipelineStep], list[PipelineStep]],
    targets: tuple[list[Target], list[Target]],
) -> Figures:
    statistics, profile = ended.statistics, study.surrogate.profile
    transferred, defaults = (mean([each.metrics[METRIC] for each in group]) for group in targets)
    alone, squeezed = (mean_seconds(each) for each in steps)
    return Figures(
        trials=statistics.trials_by_state,
        bundles=statistics.bundles,
        max_fusion_count=statistics.max_fusion_count,
        wall_seconds=wall_seconds(ended),
        seconds_per_trial=seconds_per_trial(statistics),
        unfused_target_seconds_per_trial=unfused_seconds_per_trial(statistics, profile),
        best_hyperparameters=study.best_trial.hyperparameters,
        target_metric_transferred=transferred,
        target_metric_default=defaults,
        pipeline_step_seconds_alone=alone,
        pipeline_step_seconds_squeezed=squeezed,
        slot_trial_steps=statistics.slot_trial_steps,
        trial_steps=statistics.trial_steps,
    )


def _say(console: Console, text: str) -> None:
    console.print(f"[bright_blue]▸[/] {text}", highlight=False)
