import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.client.names import StudyName, TrialName
from hydro.kit.errors import InvalidArgument

PART = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)


@given(PART, PART, st.integers(0, 10**9))
def test_a_trial_name_reads_back_as_itself(project, study, number):
    name = StudyName(project, study).trial(number)
    assert TrialName.parse(str(name)) == name


@pytest.mark.parametrize("text", ["digits", "projects/a/studies/", "projects/a/studies/b/trials/1/x", ""])
def test_a_malformed_study_name_is_refused_with_an_example(text):
    with pytest.raises(InvalidArgument, match="write it as 'projects/default/studies/digits'"):
        StudyName.parse(text)
