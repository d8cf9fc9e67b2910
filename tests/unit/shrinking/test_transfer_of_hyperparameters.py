from hydro.tuner.planning.role import Role
from hydro.tuner.shrinking.transfer import TransferKind, transfer_hyperparameters

BEST = {"lr": 0.3, "momentum": 0.9, "dropout": 0.2, "batch_size": 64, "horizon": 3}
ROLES = {
    "lr": Role.OPTIMIZER, "momentum": Role.OPTIMIZER, "dropout": Role.NUMERIC, "batch_size": Role.STRUCTURAL,
    "horizon": Role.OPTIMIZER,
}  # fmt: skip


def kinds(transferred):
    return {each.hyperparameter: each.kind for each in transferred.transfers}


def test_each_hyperparameter_is_transferred_by_what_it_changes():
    transferred = transfer_hyperparameters(BEST, ROLES, 1 / 8, ["horizon"])
    assert kinds(transferred) == {
        "lr": TransferKind.RESCALED,
        "momentum": TransferKind.TRANSFERRED,
        "dropout": TransferKind.NOT_TRANSFERABLE,
        "batch_size": TransferKind.TRANSFERRED,
        "horizon": TransferKind.NOT_TRANSFERABLE,
    }


def test_what_does_not_transfer_is_left_out_and_the_rest_is_the_surrogates():
    transferred = transfer_hyperparameters(BEST, ROLES, 1 / 8, ["horizon"])
    assert transferred.hyperparameters == {"lr": 0.3, "momentum": 0.9, "batch_size": 64}


def test_at_full_width_everything_transfers():
    transferred = transfer_hyperparameters(BEST, ROLES, 1.0, ["horizon"])
    assert transferred.hyperparameters == BEST
    assert set(kinds(transferred).values()) == {TransferKind.TRANSFERRED}


def test_every_transfer_is_explained():
    assert all(each.explanation for each in transfer_hyperparameters(BEST, ROLES, 1 / 8).transfers)
