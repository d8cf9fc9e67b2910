"""docs/search-space.md: what stands side by side is the same space, and the service takes it."""

import re
from pathlib import Path

import pytest
import yaml

from hydro.client.convert import search_space_message
from hydro.client.space_file import DOMAINS, read_space
from hydro.coordinator.messages import search_space_of
from hydro.coordinator.search_space import validate

PAGE = (Path(__file__).parents[3] / "docs" / "search-space.md").read_text()
PAIRS = re.findall(r"```python\n(.*?)```\n\n```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_has_spaces_of_both_kinds():
    assert len(PAIRS) == 2 and ".when(" not in PAIRS[0][0] and ".when(" in PAIRS[1][0]
    assert [name for name in DOMAINS if f"{{{name}:" not in PAGE] == []


@pytest.mark.parametrize(("python", "file"), PAIRS, ids=["domains", "conditions"])
def test_python_and_yaml_are_one_space_that_is_valid(python, file):
    names = {}
    exec(python, names)  # noqa: S102 - the page's own
    assert read_space(yaml.safe_load(file)["search_space"]) == names["space"]
    assert validate(search_space_of(search_space_message(names["space"]))) == []


def test_nested_conditions_leave_out_what_hangs_on_them():
    names = {}
    exec(PAIRS[1][0], names)  # noqa: S102 - the page's own
    space = search_space_of(search_space_message(names["space"]))
    active = {each.name for each in space.active({"optimizer": "sgd", "kind": "plain", "depth": 6, "skip": True})}
    assert active == {"optimizer", "momentum", "kind"}
    active = {each.name for each in space.active({"optimizer": "sgd", "kind": "deep", "depth": 8, "skip": True})}
    assert active == {"optimizer", "momentum", "kind", "depth", "skip", "skip_lr"}


def test_the_faults_that_the_page_shows_are_those_that_are_told():
    faults = re.findall(r"^study\.search_space.*$", PAGE, flags=re.MULTILINE)
    assert len(faults) == 2
    names = {}
    exec(PAIRS[1][0], names)  # noqa: S102 - the page's own
    wrong = read_space({"lr": {"loguniform": [0, 1]}})
    assert [f"{each.field}: {each.description}" for each in found(wrong)] == [faults[0]]
    wrong = names["space"] | read_space({"skip": {"choice": [True, False], "when": {"depth": [6, 5]}}})
    assert f"{faults[1]}" in [f"{each.field}: {each.description}" for each in found(wrong)]


def found(space):
    return validate(search_space_of(search_space_message(space)))
