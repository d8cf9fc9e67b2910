import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.kit.template import filled, names_in, variable_name


def test_references_are_replaced_and_escapes_are_plain():
    assert filled("--lr=${lr} $${lr} $HOME $$ ${lr}", {"lr": "0.1"}) == "--lr=0.1 ${lr} $HOME $$ 0.1"
    assert names_in("${a.b}-${c} $${d}") == {"a.b", "c"}


def test_what_is_put_in_is_not_read_again():
    assert filled("${a}", {"a": "${b}"}) == "${b}"


@pytest.mark.parametrize("text", ["${lr", "a ${ b ${c}", "${"])
def test_an_unclosed_reference_is_refused(text):
    with pytest.raises(ValueError, match="is not closed"):
        names_in(text)


@given(st.text().filter(lambda text: "${" not in text))
def test_a_text_without_references_is_itself(text):
    assert names_in(text) == frozenset()
    assert filled(text, {}) == text


def test_a_name_with_points_is_a_variable_too():
    assert variable_name("HP_", "optimizer.lr") == "HP_OPTIMIZER_LR"
