"""What a project may have."""

import pytest

from hydro.coordinator.names import ProjectName
from hydro.coordinator.quotas import Quota, Quotas, ReportRates, read_quotas
from hydro.kit.clock import ManualClock
from hydro.kit.errors import ResourceExhausted

QUOTAS = Quotas(read_quotas('{"*": {"open_studies": 2}, "vision": {"reports_per_second": 4, "trials_per_study": 100}}'))
VISION, OTHER = ProjectName("vision"), ProjectName("other")


def test_a_project_has_its_own_quota_or_that_of_every_other_one():
    assert QUOTAS.of("vision") == Quota(0, 100, 4)
    assert QUOTAS.of("other") == Quota(open_studies=2)
    assert Quotas({}).of("other") == Quota()


def test_a_study_of_too_many_trials_is_refused_for_good():
    QUOTAS.check_trials(VISION, 100)
    with pytest.raises(ResourceExhausted, match="trials_per_study is 100") as caught:
        QUOTAS.check_trials(VISION, 101)
    assert (caught.value.reason, caught.value.retry_seconds) == ("QUOTA_EXCEEDED", None)
    assert caught.value.quota.subject == "projects/vision"


def test_one_open_study_too_many_may_come_again():
    QUOTAS.check_open_studies(OTHER, 1)
    QUOTAS.check_open_studies(VISION, 1000)
    with pytest.raises(ResourceExhausted, match="open_studies is 2") as caught:
        QUOTAS.check_open_studies(OTHER, 2)
    assert caught.value.retry_seconds > 0


def test_reports_are_let_through_at_their_rate_and_refused_with_the_time_to_wait():
    clock = ManualClock()
    rates = ReportRates(QUOTAS, clock)
    for _ in range(4):
        rates.take("vision")
    with pytest.raises(ResourceExhausted) as caught:
        rates.take("vision")
    assert caught.value.retry_seconds == pytest.approx(0.25)
    clock.advance(0.25)
    rates.take("vision")
    clock.advance(100)
    for _ in range(4):
        rates.take("vision")
    with pytest.raises(ResourceExhausted):
        rates.take("vision")


def test_a_message_of_more_measurements_than_a_second_allows_passes_a_full_bucket_and_holds_up_the_next():
    clock = ManualClock()
    rates = ReportRates(QUOTAS, clock)
    rates.take("vision", 12)
    with pytest.raises(ResourceExhausted) as caught:
        rates.take("vision")
    assert caught.value.retry_seconds == pytest.approx(2.25)
    clock.advance(2.25)
    rates.take("vision")
    with pytest.raises(ResourceExhausted) as caught:
        rates.take("vision", 12)
    assert caught.value.retry_seconds == pytest.approx(1.0)


def test_a_project_without_a_rate_reports_as_often_as_it_wants():
    rates = ReportRates(QUOTAS, ManualClock())
    for _ in range(1000):
        rates.take("other")


def test_quotas_are_read_from_a_file_too(tmp_path):
    (tmp_path / "quotas.json").write_text('{"*": {"open_studies": 3}}')
    assert read_quotas(str(tmp_path / "quotas.json")) == {"*": Quota(open_studies=3)}
    assert read_quotas("") == {}


@pytest.mark.parametrize("wrong", ["{}x", "[]", '{"a": 1}', '{"a": {"studies": 1}}', '{"a": {"open_studies": -1}}',
                                   '{"a": {"open_studies": true}}', '{"a": {"open_studies": 1.5}}'])  # fmt: skip
def test_what_is_no_quota_is_refused(wrong, tmp_path):
    (tmp_path / "wrong.json").write_text(wrong)
    with pytest.raises(ValueError, match=r".+"):
        read_quotas(str(tmp_path / "wrong.json"))
