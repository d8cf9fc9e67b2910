"""Architecture choices are hyperparameters: each has its role where it is active, and a surrogate of its own."""

from pathlib import Path

import pytest
import torch

from hydro.tuner.planning.role import Role
from hydro.tuner.planning.role_tracing import find_roles
from hydro.tuner.shrinking.surrogate import build_surrogate
from hydro.tuner.task_loading import load_task
from hydro.tuner.training.models import ModelLibrary
from hydro.tuner.training.placed_task import PlacedTask

TASKS = Path(__file__).parents[2] / "end_to_end" / "tasks"
VALUES = {
    "lr": (1e-3, 1e-1), "mixing": ("perceptron", "attention"), "heads": (2, 4), "layers": (1, 3), "length": (8, 16),
}  # fmt: skip
ATTENDING = {"mixing": "attention", "heads": 2}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def task():
    return PlacedTask(load_task("shaped_transformer:ShapedTransformer", str(TASKS)), torch.device("cpu"))


def test_a_choice_has_the_role_that_it_has_where_it_is_active(task):
    # The constructor takes `heads` for every block, and makes nothing of it in those that do not attend.
    roles = find_roles(task, task.defaults, VALUES, {"heads": {"mixing": ("attention",)}})
    structural = dict.fromkeys(("mixing", "heads", "layers", "length"), Role.STRUCTURAL)
    assert roles == {"lr": Role.OPTIMIZER, **structural}


@pytest.mark.parametrize(
    ("solved", "chosen"),
    [
        ({}, {"layers": 3}),
        ({}, {"length": 16}),
        ({}, {**ATTENDING, "layers": 1}),
        # The same shapes, and another graph.
        (ATTENDING, {**ATTENDING, "heads": 4}),
    ],
)
def test_an_architecture_is_shrunk_beside_the_one_that_was_solved(task, solved, chosen):
    hyperparameters = task.completed(chosen)
    solution = build_surrogate(task, task.completed(solved), 1 / 2).solution
    trained = ModelLibrary(task, 1 / 2, solution).model_for(hyperparameters).fresh(seed=3)
    alone = build_surrogate(task, hyperparameters, 1 / 2)
    alone.initialize(3)
    own = alone.model
    assert shapes(trained) == shapes(own)
    assert shapes(trained)["position"] == (hyperparameters["length"], 16)
    batch = next(task.train_batches(hyperparameters, 0, 0))
    losses = [task.loss(each, batch, hyperparameters) for each in (trained, own)]
    assert torch.equal(*losses) and losses[0].isfinite()


@pytest.mark.parametrize(("layers", "left", "multiplier"), [(4, 2, 2.0), (3, 2, 1.5), (2, 1, 2.0), (1, 1, 1.0)])
def test_a_share_of_the_layers_is_that_of_each_architecture(task, layers, left, multiplier):
    solved = build_surrogate(task, task.completed({"layers": 4}), 1 / 2, depth=1 / 2).solution
    shrunk = build_surrogate(task, task.completed({"layers": layers}), 1 / 2, solution=solved)
    assert {name.split(".")[1] for name in shapes(shrunk.model) if name.startswith("blocks.")} == set("0123"[:left])
    assert [each.multiplier for each in shrunk.solution.stacks] == [multiplier]


def shapes(model):
    return {name: tuple(each.shape) for name, each in model.named_parameters()}
