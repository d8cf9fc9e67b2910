"""Names are read as they are written, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.names import DeviceName, LeaseName, ProjectName, StudyName, SurrogateName, TrialName
from hydro.kit.errors import InvalidArgument

ids = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
numbers = st.integers(0, 10**9 - 1)
names = st.one_of(
    st.builds(ProjectName, ids),
    st.builds(StudyName, ids, ids),
    st.builds(TrialName, st.builds(StudyName, ids, ids), numbers),
    st.builds(SurrogateName, ids, ids),
    st.builds(lambda one: DeviceName(f"devices/{one}"), ids),
    st.builds(lambda one, two: DeviceName(f"devices/{one}/slots/{two}"), ids, ids),
    st.builds(LeaseName, st.integers(1, 10**17)),
)
KINDS = [ProjectName, StudyName, TrialName, SurrogateName, DeviceName, LeaseName]


@given(names)
def test_a_name_is_read_as_it_is_written(name):
    assert type(name).parse(str(name)) == name


@given(names)
def test_a_name_of_one_kind_is_refused_as_any_other(name):
    for kind in KINDS:
        if kind is not type(name):
            with pytest.raises(InvalidArgument):
                kind.parse(str(name))


@given(st.text())
def test_any_text_is_a_name_or_refused(text):
    for kind in KINDS:
        try:
            assert str(kind.parse(text)) == text
        except InvalidArgument as error:
            assert error.violations


@pytest.mark.parametrize(
    "text", ["", "projects/p/studies/", "projects/p/studies/A", "projects/p/studies/s\n", "x" * 10**6]
)
def test_what_is_no_study_name_is_refused_with_its_field_and_a_short_message(text):
    with pytest.raises(InvalidArgument) as caught:
        StudyName.parse(text, "parent")
    (violation,) = caught.value.violations
    assert violation.field == "parent" and len(violation.description) < 300
