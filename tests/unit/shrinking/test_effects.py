import pytest
import torch
from torch import nn

from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.effects import find_effects, optimizer_facts, require_rules
from hydro.tuner.shrinking.optimizer_families import CoupledWeightDecay
from hydro.tuner.task import TrainingTask

DEFAULTS = {"lr": 0.1, "b": 0.9, "log_decay": -2.0, "warmup": 2, "jitter": 0.0, "kind": "sgd", "wd": 0.0}
VALUES = {
    "lr": (0.01, 0.3), "b": (0.5, 0.99), "log_decay": (-3.0, -1.0), "warmup": (1, 9), "jitter": (0.0, 0.5),
    "kind": ("sgd", "adam"), "wd": (0.0, 0.1),
}  # fmt: skip


class Task(TrainingTask):
    defaults = DEFAULTS

    def train_batches(self, hp, seed, start_step):
        while True:
            yield torch.ones(2, 3) * (1 + hp["jitter"])

    def optimizer(self, model, hp):
        if hp["kind"] == "adam":
            return torch.optim.Adam(model.parameters(), lr=hp["lr"], betas=(hp["b"], 0.999), weight_decay=hp["wd"])
        return torch.optim.SGD(model.parameters(), lr=hp["lr"], momentum=hp["b"], weight_decay=hp["wd"])

    def lr_scheduler(self, optimizer, hp):
        return torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=hp["warmup"])


def effects(**defaults):
    roles = dict.fromkeys(VALUES, Role.OPTIMIZER)
    return find_effects(Task(), nn.Linear(3, 3), DEFAULTS | defaults, VALUES, roles)


def test_a_hyperparameter_is_known_by_the_option_that_has_its_value():
    found = effects(kind="adam")
    assert found["lr"].options == ("lr",)
    assert found["b"].options == ("betas.0",)
    assert found["wd"].options == ("weight_decay",)
    assert effects()["b"].options == ("momentum",)
    assert found["log_decay"].options == found["kind"].options == ()


def test_what_training_batches_alone_read_changes_the_data_alone():
    assert {name for name, each in effects().items() if each.changes_data_alone} == {"jitter"}


def test_coupled_decay_is_found_at_values_that_only_together_have_it():
    require_rules(Task(), nn.Linear(3, 3), DEFAULTS, {"wd": (0.0, 0.1)})
    require_rules(Task(), nn.Linear(3, 3), DEFAULTS, {"kind": ("sgd", "adam")})
    with pytest.raises(CoupledWeightDecay, match=r"weight_decay is 0.1, and Adam"):
        require_rules(Task(), nn.Linear(3, 3), DEFAULTS, VALUES)


class Picky(Task):
    """Takes a decay only beside its default rate, and no other momentum."""

    def optimizer(self, model, hp):
        if (hp["wd"] and hp["lr"] != DEFAULTS["lr"]) or hp["b"] != DEFAULTS["b"]:
            raise ValueError("these do not go together")
        return super().optimizer(model, hp)


def test_a_task_that_refuses_all_combinations_is_checked_at_each_value_alone():
    with pytest.raises(CoupledWeightDecay):
        require_rules(Picky(), nn.Linear(3, 3), DEFAULTS | {"kind": "adam"}, {"lr": (0.01, 0.3), "wd": (0.1, 0.2)})


def test_a_hyperparameter_whose_values_are_all_refused_is_a_warning():
    model = nn.Linear(3, 3)
    assert require_rules(Task(), model, DEFAULTS, VALUES | {"wd": (0.0,)}) == ()
    (warning,) = require_rules(Picky(), model, DEFAULTS, {"lr": (0.01, 0.3), "b": (0.5, 0.99)})
    assert warning.startswith("b: the task's optimizer refuses each of the values that were tried, 0.5, 0.99")


def test_an_optimizer_is_told_by_family_and_options():
    facts = optimizer_facts(torch.optim.NAdam([nn.Parameter(torch.ones(1))], decoupled_weight_decay=True))
    assert facts.family == "AdamW"
    assert facts.options["decoupled_weight_decay"] is True
