"""Inside a program that was started by hand."""

import pytest

from hydro.client import trial
from hydro.kit.errors import FailedPrecondition, InvalidArgument


@pytest.fixture(autouse=True)
def no_trial(monkeypatch):
    for name in ("HYDRO_TRIAL_ADDRESS", "HYDRO_DRY_RUN"):
        monkeypatch.delenv(name, raising=False)
    trial._session.cache_clear()
    yield
    trial._session.cache_clear()


def test_without_a_trial_the_error_says_what_to_do():
    with pytest.raises(FailedPrecondition, match=r"HYDRO_DRY_RUN='\{"):
        trial.report(1, 0.5)


def test_a_dry_run_has_hyperparameters_and_says_what_it_would_report(monkeypatch, capsys):
    monkeypatch.setenv("HYDRO_DRY_RUN", '{"lr": 0.1, "depth": 3}')
    assert trial.hyperparameters == {"lr": 0.1, "depth": 3}
    assert trial.report(1, 0.5) is True
    assert trial.report(2, {"loss": 0.25}) is True
    trial.finish(0.25)
    said = capsys.readouterr().err
    assert 'step 1 {"objective": 0.5}' in said
    assert 'step 2 {"loss": 0.25}' in said
    assert "finished 0.25" in said


@pytest.mark.parametrize("given", ["lr=0.1", "[1]"])
def test_a_dry_run_without_hyperparameters_is_refused(monkeypatch, given):
    monkeypatch.setenv("HYDRO_DRY_RUN", given)
    with pytest.raises(InvalidArgument, match="HYDRO_DRY_RUN"):
        trial.finish()


def test_there_is_nothing_else_in_it():
    with pytest.raises(AttributeError, match="has no attribute 'hyperparams'"):
        trial.hyperparams  # noqa: B018
