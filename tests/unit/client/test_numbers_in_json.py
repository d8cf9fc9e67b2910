"""What the commands print as JSON is JSON, whatever number a program has measured."""

import json

import pytest

from hydro.client.command.output import plain


@pytest.mark.parametrize(
    ("number", "text"),
    [(float("nan"), "NaN"), (float("inf"), "Infinity"), (-float("inf"), "-Infinity"), (0.5, 0.5), (None, None)],
)
def test_numbers_that_json_has_not_are_texts_and_a_value_that_is_none_is_null(number, text):
    assert json.loads(json.dumps(plain({"loss": [number]}), allow_nan=False)) == {"loss": [text]}
