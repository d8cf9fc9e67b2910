import pytest

from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.batch_scaling import BatchChange
from hydro.tuner.shrinking.transfer import Effect, TransferKind, transfer_hyperparameters

BEST = {"lr": 0.3, "momentum": 0.9, "dropout": 0.2, "batch_size": 64, "horizon": 3, "jitter": 0.1, "rate": 0.5}
EFFECTS = {
    "lr": Effect(options=("lr",)),
    "momentum": Effect(options=("momentum",)),
    "dropout": Effect(Role.NUMERIC),
    "batch_size": Effect(Role.STRUCTURAL),
    "horizon": Effect(),
    "jitter": Effect(changes_data_alone=True),
    "rate": Effect(options=("weight_decay",)),
}


def kinds(transferred):
    return {each.hyperparameter: each.kind for each in transferred.transfers}


def test_each_hyperparameter_is_transferred_by_what_it_changes():
    transferred = transfer_hyperparameters(BEST, EFFECTS, 1 / 8, not_transferable=["horizon"])
    assert kinds(transferred) == {
        "lr": TransferKind.RESCALED,
        "momentum": TransferKind.TRANSFERRED,
        "dropout": TransferKind.NOT_TRANSFERABLE,
        "batch_size": TransferKind.TRANSFERRED,
        "horizon": TransferKind.NOT_TRANSFERABLE,
        "jitter": TransferKind.NOT_TRANSFERABLE,
        # By the option that it is, whatever its name.
        "rate": TransferKind.RESCALED,
    }


def test_what_does_not_transfer_is_left_out_and_the_rest_is_the_surrogates():
    transferred = transfer_hyperparameters(BEST, EFFECTS, 1 / 8, not_transferable=["horizon"])
    assert transferred.hyperparameters == {"lr": 0.3, "momentum": 0.9, "batch_size": 64, "rate": 0.5}


def test_at_full_width_everything_transfers():
    transferred = transfer_hyperparameters(BEST, EFFECTS, 1.0, not_transferable=["horizon"])
    assert transferred.hyperparameters == BEST
    assert set(kinds(transferred).values()) == {TransferKind.TRANSFERRED}


@pytest.mark.parametrize("width", [1 / 8, 1.0])
def test_a_fidelity_of_search_trials_is_left_out_at_any_width(width):
    found = transfer_hyperparameters({"data_fraction": 0.25, "lr": 0.1}, EFFECTS, width, fidelities=["data_fraction"])
    assert found.hyperparameters == {"lr": 0.1}
    assert "search trials cheaper" in found.transfers[0].explanation


def test_every_transfer_is_explained():
    assert all(each.explanation for each in transfer_hyperparameters(BEST, EFFECTS, 1 / 8).transfers)


ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "decay": 0.1}
OPTIONS = {"lr": "lr", "beta1": "betas.0", "beta2": "betas.1", "eps": "eps", "decay": "weight_decay"}


def rescaled(values, family, ratio, width=1 / 8):
    effects = {name: Effect(options=(OPTIONS[name],)) for name in values}
    return transfer_hyperparameters(values, effects, width, batch=BatchChange(ratio, family))


def test_with_sgd_the_learning_rate_goes_with_the_batch():
    found = rescaled({"lr": 0.1, "decay": 1e-4}, "SGD", 4)
    assert found.hyperparameters == pytest.approx({"lr": 0.4, "decay": 1e-4})


def test_with_adamw_numbers_go_with_the_root_of_the_batch():
    found = rescaled(ADAM, "AdamW", 4)
    assert found.hyperparameters == pytest.approx({"lr": 0.2, "beta1": 0.6, "beta2": 0.92, "eps": 0.5e-8, "decay": 0.2})
    assert set(kinds(found).values()) == {TransferKind.RESCALED}
    assert "2205.10287" in found.transfers[0].explanation


def test_a_smaller_batch_is_the_larger_ones_inverse():
    there = rescaled(ADAM, "AdamW", 4).hyperparameters
    assert rescaled(there, "AdamW", 1 / 4).hyperparameters == pytest.approx(ADAM)


def test_an_average_cannot_become_longer_than_its_last_value():
    assert rescaled({"beta1": 0.5}, "Adam", 8).hyperparameters == {"beta1": 0.0}


def test_another_batch_warns_and_names_what_the_task_has_to_change_itself():
    (warning,) = rescaled({"lr": 0.1}, "AdamW", 4).warnings
    assert "4 times the surrogate's samples" in warning
    assert "eps, weight_decay of the task's own" in warning
    assert rescaled(ADAM, "AdamW", 1).warnings == ()


def test_an_optimizer_without_a_rule_for_batches_keeps_its_numbers_and_warns():
    found = rescaled({"lr": 0.1}, "Muon", 4)
    assert found.hyperparameters == {"lr": 0.1}
    assert "Muon has no rule" in found.warnings[0]
