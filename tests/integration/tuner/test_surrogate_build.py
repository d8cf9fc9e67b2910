"""The whole build of a surrogate, in this process: what comes out for good tasks, and what is said of bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hydro.kit.artifacts import read_artifact
from hydro.tuner.building.request import BuildRequest, BuildResult, Check
from hydro.tuner.building.surrogate_build import build
from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task_loading import load_task
from hydro.tuner.training.models import ModelLibrary
from hydro.tuner.training.placed_task import PlacedTask

EXAMPLES = Path(__file__).parents[3] / "examples"

TASK = """
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.task import TrainingTask


class Perceptron(nn.Module):
    def __init__(self, layers, dropout):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.hidden = nn.ModuleList(nn.Linear(32, 32) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.first(x))
        for layer in self.hidden:
            x = self.dropout(F.relu(layer(x)))
        return self.last(x)


class Good(TrainingTask):
    defaults = {"lr": 0.1, "batch_size": 16, "layers": 1, "dropout": 0.1, "smoothing": 0.0, "clip": False, "bound": 1.0}

    def model(self, hp):
        return Perceptron(hp["layers"], hp["dropout"])

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(seed * 1000 + step)
            x = torch.randn(hp["batch_size"], 8, generator=generator)
            yield x, x[:, :4].argmax(1)
            step += 1

    def validation_batches(self, hp):
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
        return [(x, x[:, :4].argmax(1))]

    def loss(self, model, batch, hp):
        x, y = batch
        logits = model(x)
        if hp["clip"]:
            logits = logits.clamp(max=hp["bound"])
        return F.cross_entropy(logits, y, label_smoothing=hp["smoothing"])

    def optimizer(self, model, hp):
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])


class Raising(Good):
    def loss(self, model, batch, hp):
        return super().loss(model, batch, {**hp, "temperature": hp["temperature"]})


class RaisingWithManyLayers(Good):
    def model(self, hp):
        if hp["layers"] > 2:
            raise ValueError(f"{hp['layers']} layers are too many")
        return super().model(hp)


class Diverging(Good):
    defaults = {**Good.defaults, "lr": 1e6}


class ScalingTwice(Good):
    # With a rule of its own for the width, which the parametrization does not know of.
    def optimizer(self, model, hp):
        return torch.optim.SGD(model.parameters(), lr=hp["lr"] * model.first.weight.shape[0] ** 1.5 / 32**1.5)


class Vector(Good):
    def loss(self, model, batch, hp):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


class Stream(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(8, 32), nn.LayerNorm(32), nn.Linear(32, 4)
        self.layers = nn.ModuleList(Residual() for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.last(self.norm(x))


class Deep(Good):
    def model(self, hp):
        return Stream()


class DependingOnData(Good):
    def model(self, hp):
        return Branching()


class Coupled(Good):
    defaults = Good.defaults | {"decay": 0.0}

    def optimizer(self, model, hp):
        return torch.optim.Adam(model.parameters(), lr=hp["lr"], weight_decay=hp["decay"])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x):
        hidden = self.first(x)
        if hidden.sum() > 0:
            hidden = -hidden
        return self.last(F.relu(hidden))
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def ask(tmp_path: Path):
    (tmp_path / "built_task.py").write_text(TASK)

    def request(
        task: str,
        *,
        width: float = 0.25,
        metric: str = "validation_loss",
        max_lanes: int = 4,
        verify=(),
        accept=False,
        **values,
    ):
        return BuildRequest(
            entry_point=f"built_task:{task}",
            source_path=str(tmp_path),
            width=width,
            values=values or {"lr": (0.01, 1.0)},
            objective_metric=metric,
            artifact_uri=str(tmp_path / "artifacts"),
            artifact_path="projects/p/surrogates/s.json",
            max_lanes=max_lanes,
            max_steps=4,
            checks=verify,
            accept_failed_checks=accept,
        )

    return request


def test_a_surrogate_is_shrunk_stored_and_profiled(ask):
    result = build(ask("Good"))
    assert result.failure == ""
    assert result.width == 0.25
    assert result.parameters < result.target_parameters
    assert result.fingerprint.startswith("sha256:")
    assert "first.weight" in result.report
    assert result.artifact is not None
    solution = Solution.from_json(read_artifact(result.artifact.uri, result.artifact.digest).decode())
    assert solution.parameters == result.parameters
    assert [point.lanes for point in result.profile.fused][:3] == [1, 2, 4]
    assert all(point.step_seconds > 0 and point.segment_seconds > 0 for point in result.profile.fused)
    assert result.profile.separate_step_seconds > 0
    assert result.profile.target_step_seconds > 0
    assert "measured before" not in result.report
    again = build(ask("Good"))
    assert again.profile == result.profile
    assert "measured before" in again.report


def test_each_hyperparameter_has_its_role(ask):
    result = build(
        ask(
            "Good",
            lr=(0.01, 1.0),
            batch_size=(16, 32),
            layers=(1, 3),
            dropout=(0.1, 0.5),
            smoothing=(0.0, 0.2),
            clip=(False, True),
            bound=(1.0, 5.0),
        )
    )
    assert result.roles == {
        "lr": Role.OPTIMIZER,
        "batch_size": Role.PADDED,
        "layers": Role.STRUCTURAL,
        "dropout": Role.NUMERIC,
        "smoothing": Role.NUMERIC,
        "clip": Role.STRUCTURAL,
        # Read only where `clip` is on.
        "bound": Role.NUMERIC,
    }


def test_what_will_become_of_each_hyperparameter_is_told_and_reported(ask):
    request = replace(
        ask("Good", lr=(0.01, 1.0), dropout=(0.1, 0.5), smoothing=(0.0, 0.2), layers=(1,)),
        not_transferable=("smoothing",),
    )
    result = build(request)
    kinds = {each.hyperparameter: each.kind.value for each in result.transfers}
    assert kinds == {
        "lr": "RESCALED", "dropout": "NOT_TRANSFERABLE", "smoothing": "NOT_TRANSFERABLE", "layers": "TRANSFERRED",
    }  # fmt: skip
    assert result.effects["lr"].options == ("lr",)
    assert result.optimizer_family == "SGD"
    assert "hyperparameters on the target:\n  lr: rescaled; the surrogate trained each tensor" in result.report
    # What the user marked needs no warning.
    assert [each.partition(" does not transfer")[0] for each in result.warnings] == ["dropout"]


def test_decay_inside_a_normalized_gradient_is_refused_before_anything_is_stored(ask, tmp_path):
    result = build(ask("Coupled", decay=(0.0, 0.1)))
    assert "weight_decay is 0.1, and Adam adds it to a gradient" in result.failure
    assert "torch.optim.AdamW" in result.failure
    assert not (tmp_path / "artifacts").exists()


def test_the_target_itself_is_tuned_at_width_one(ask):
    result = build(ask("Good", width=1.0))
    assert result.failure == ""
    assert result.width == 1.0
    assert result.artifact is None
    assert result.parameters == result.target_parameters
    assert result.profile.fused


def test_fusion_counts_beyond_the_largest_bundle_are_not_measured(ask):
    assert {point.lanes for point in build(ask("Good", max_lanes=2)).profile.fused} == {1, 2}


def test_a_model_that_cannot_be_exported_runs_unshrunk_and_unfused_with_a_warning(ask):
    result = build(ask("DependingOnData"))
    assert result.failure == ""
    assert result.width == 1.0
    assert result.artifact is None
    assert result.profile.fused == ()
    assert result.profile.separate_step_seconds > 0
    (warning,) = result.warnings
    line = 1 + TASK.splitlines().index("        if hidden.sum() > 0:")
    assert f"built_task.py:{line}" in warning
    assert "unshrunk and unfused; a task with model_at_width(hp, width)" in warning


def test_a_task_that_raises_is_told_with_its_line(ask):
    failure = build(ask("Raising")).failure
    assert "computing the loss" in failure
    assert "KeyError: 'temperature'" in failure
    assert 'return super().loss(model, batch, {**hp, "temperature": hp["temperature"]})' in failure
    assert "torch/nn" not in failure


def test_a_task_that_raises_at_some_values_is_told(ask):
    assert "3 layers are too many" in build(ask("RaisingWithManyLayers", layers=(1, 3))).failure


def test_a_metric_that_the_task_never_reports_is_told(ask):
    failure = build(ask("Good", metric="accuracy")).failure
    assert "never reports 'accuracy'" in failure
    assert "it reports validation_loss" in failure


def test_defaults_that_diverge_do_not_end_the_profile(ask):
    result = build(ask("Diverging"))
    assert result.failure == ""
    assert [point.lanes for point in result.profile.fused][:3] == [1, 2, 4]


def test_a_surrogate_that_fails_the_coordinate_check_is_refused_with_the_layer_and_the_rule(ask):
    result = build(ask("ScalingTwice", width=0.125))
    assert "the output of last changes more at larger widths" in result.failure
    assert "the rule for the learning rate of last.weight (readout) under SGD" in result.failure
    assert "accept_failed_checks" in result.failure
    assert "coordinate check at widths" in result.report and not result.profile.fused
    assert [each.verdict for each in result.checks.slopes if each.layer == "last"] == ["fail"]


def test_a_failed_check_that_is_accepted_is_a_warning(ask):
    result = build(ask("ScalingTwice", width=0.125, accept=True))
    assert result.failure == "" and result.artifact is not None
    assert any("the output of last changes more at larger widths" in each for each in result.warnings)


def test_checks_on_request_are_in_the_report_and_their_figures_in_the_result(ask):
    result = build(ask("Good", verify=(Check.UPDATE_SIZE, Check.LADDER), accept=True, lr=(0.125, 0.5)))
    assert result.failure == ""
    assert "update sizes at widths" in result.report and "ladder of 3 widths, 5 seeds" in result.report
    assert [rung.width for rung in result.checks.rungs] == [0.25, 0.5, 1.0]
    assert BuildResult.from_json(result.to_json()).checks == result.checks


def test_a_surrogate_of_fewer_layers_is_checked_over_depths_too_and_a_worker_has_as_many(ask):
    result = build(replace(ask("Deep"), depth=0.5))
    assert (result.failure, result.width, result.depth) == ("", 0.25, 0.5)
    assert "depth 0.5: 2 of 4 layers of layers, each branch times 2" in result.report
    assert "coordinate check at depths 0.5, 1:" in result.report
    solution = Solution.from_json(read_artifact(result.artifact.uri, result.artifact.digest).decode())
    task = PlacedTask(load_task("built_task:Deep", ""), torch.device("cpu"))
    trained = ModelLibrary(task, 0.25, solution).model_for(task.defaults).template
    assert [name for name, _ in trained.named_modules() if name.endswith(".up")] == ["layers.0.up", "layers.1.up"]


def test_a_depth_of_a_model_without_layers_that_can_be_left_out_is_refused(ask):
    assert "depth: no stack of pre-LN residual layers is found" in build(replace(ask("Good"), depth=0.5)).failure


def test_a_ladder_without_a_learning_rate_to_follow_is_refused(ask):
    result = build(ask("Good", verify=(Check.LADDER,), dropout=(0.0, 0.5)))
    assert "needs a learning rate in the search space" in result.failure


def test_a_loss_that_is_no_scalar_is_told(ask):
    assert "the task's loss is a tensor of shape [16]" in build(ask("Vector")).failure


def test_a_width_that_leaves_no_channel_is_told(ask):
    failure = build(ask("Good", width=1 / 128)).failure
    assert "width" in failure


@pytest.mark.parametrize("entry_point", ["nowhere:Task", "built_task:Nothing"])
def test_a_task_that_is_not_there_is_told(ask, entry_point):
    request = BuildRequest(**{**json.loads(ask("Good").to_json()), "entry_point": entry_point})
    assert entry_point.split(":")[0] in build(request).failure


def example(entry_point: str, tmp_path: Path, **values) -> BuildRequest:
    return BuildRequest(entry_point, str(EXAMPLES), 1 / 8, values, "validation_loss", str(tmp_path), "s.json", 16)


def test_the_language_model_example_builds(tmp_path):
    result = build(example("char_lm:CharacterLanguageModel", tmp_path, lr=(1e-4, 1e-2), dropout=(0.0, 0.3)))
    assert result.failure == ""
    assert result.roles == {"lr": Role.OPTIMIZER, "dropout": Role.NUMERIC}
    assert result.profile.fused[0].lanes == 1


def test_a_fixed_hyperparameter_holds_in_the_build_too(tmp_path):
    sizes = [
        build(example("digits:Digits", tmp_path, lr=(1e-3, 1e-2), channels=(channels,))).target_parameters
        for channels in (16, 32)
    ]
    assert 3 < sizes[1] / sizes[0] < 4


@pytest.mark.slow
def test_a_ladder_measures_the_drift_of_a_wrong_rule_and_tells_what_would_mend_it(ask):
    # Its rate goes with the width to the power of 1.5, so that the best one falls by as many octaves for each doubling.
    asked = replace(ask("ScalingTwice", width=0.125, verify=(Check.LADDER,), lr=(2**-9, 32.0)), max_steps=60)
    result = build(asked)
    assert "it does not transfer" in result.failure
    narrow, middle, wide = (rung.best_lr_log2 for rung in result.checks.rungs)
    assert narrow > middle > wide and narrow - wide == pytest.approx(3, abs=0.75)
    assert "extrapolated, the target's best is 2^-" in result.failure
