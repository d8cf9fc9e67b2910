from pathlib import Path

from hydro.tuner.shrinking.rule_page import markdown
from hydro.tuner.shrinking.rule_table import NEURAL_TANGENT

PAGE = Path(__file__).parents[3] / "docs" / "parametrization.md"


def test_the_page_has_the_table_in_use():
    assert markdown() in PAGE.read_text()


def test_another_parametrization_has_another_table():
    assert "| hidden, grouped by size | m_in^-0.5 | 1 | m_in^-1 |" in markdown(NEURAL_TANGENT)
