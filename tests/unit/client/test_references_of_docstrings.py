"""Docstrings as the references read them."""

import importlib.util
import sys
from pathlib import Path

import pytest

WRITER = Path(__file__).parents[3] / "clients" / "python" / "references" / "docstrings.py"


@pytest.fixture(scope="module")
def docstrings():
    spec = importlib.util.spec_from_file_location("docstrings_of_references", WRITER)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TEXT = """Does something.

    More of it::

        do(1)

    Args:
        first: What is
            first.
        second: Else.

    Returns:
        What was
        done.

    Raises:
        ValueError: it cannot.
    """


def test_the_parts_of_a_docstring_are_told_apart(docstrings):
    found = docstrings.parse(TEXT)
    assert found.text == "Does something.\n\nMore of it:\n\n    do(1)"
    assert found.first == "Does something."
    assert found.arguments == {"first": "What is first.", "second": "Else."}
    assert (found.returns, found.raises) == ("What was done.", {"ValueError": "it cannot."})


def test_text_after_a_section_is_text_again(docstrings):
    found = docstrings.parse("A.\n\nArgs:\n    one: Two.\n\nAnd more.\n")
    assert found.text == "A.\n\nAnd more." and found.arguments == {"one": "Two."}
