from hydro.client import Transfer, TransferKind, choice, constant, fidelity, integer, loguniform, uniform
from hydro.client.retuning import candidates, retuned_names

SPACE = {
    "lr": loguniform(1e-4, 1),
    "dropout": uniform(0, 0.4, step=0.1),
    "smoothing": loguniform(0.01, 0.1),
    "crops": integer(1, 4),
    "augment": choice(["none", "flip"]),
    "data_fraction": fidelity(0.25),
    "depth": constant(3),
}
NAMES = ("dropout", "smoothing", "crops", "augment")


def test_what_does_not_transfer_is_retuned_but_for_what_made_search_trials_cheaper():
    kept = [Transfer(name, TransferKind.NOT_TRANSFERABLE, "") for name in (*NAMES, "data_fraction")]
    assert retuned_names(SPACE, [*kept, Transfer("lr", TransferKind.RESCALED, "")]) == NAMES


def test_the_first_training_has_the_tasks_defaults():
    assert candidates(SPACE, NAMES, 3, seed=0)[0] == {}


def test_values_are_spread_over_each_domain_and_lie_in_it():
    drawn = candidates(SPACE, NAMES, 5, seed=1)[1:]
    assert sorted(each["crops"] for each in drawn) == [1, 2, 3, 4]
    assert {each["augment"] for each in drawn} == {"none", "flip"}
    assert all(any(abs(each["dropout"] - step / 10) < 1e-9 for step in range(5)) for each in drawn)
    assert sum(each["smoothing"] < 0.1**1.5 for each in drawn) == 2
    assert all(0.01 <= each["smoothing"] <= 0.1 for each in drawn)


def test_values_are_a_function_of_the_seed():
    assert candidates(SPACE, NAMES, 5, seed=1) == candidates(SPACE, NAMES, 5, seed=1)
    assert candidates(SPACE, NAMES, 5, seed=1) != candidates(SPACE, NAMES, 5, seed=2)
