import math

import pytest

from hydro.kit.line_metrics import LineMetrics, MetricPattern, TooSlow, read_json, read_line


def read(pattern, line):
    return MetricPattern(pattern).read(line)


def test_a_group_is_a_metric_and_step_is_the_step():
    found = read(r"epoch (?P<step>\d+): loss (?P<loss>\S+)", "epoch 3: loss 1e-2")
    assert found == LineMetrics({"loss": 0.01}, 3)


def test_name_and_value_find_every_pair_of_a_line():
    found = read(r"(?P<name>[\w/]+)=(?P<value>[-+.\deE]+|nan)", "val/loss=0.5 acc=1 it=nan")
    assert found.metrics["val/loss"] == 0.5
    assert found.metrics["acc"] == 1
    assert math.isnan(found.metrics["it"])


def test_patterns_add_up_within_a_line():
    patterns = [MetricPattern(r"step (?P<step>\d+) a (?P<a>\d+)"), MetricPattern(r"b (?P<b>\d+)")]
    assert read_line(patterns, "step 2 a 1 b 7") == LineMetrics({"a": 1, "b": 7}, 2)
    assert not read_line(patterns, "nothing of it")


def test_what_is_no_number_is_left_out():
    assert not read(r"loss (?P<loss>\w+)", "loss unknown")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "is no regular expression"),
        ("loss", "names no metric"),
        (r"(?P<step>\d)", "names no metric"),
        (r"(?P<name>\w)", "only one of the groups"),
    ],
)
def test_a_pattern_that_finds_no_metric_is_refused(pattern, said):
    with pytest.raises(ValueError, match=said):
        MetricPattern(pattern)


def test_a_pattern_that_backtracks_without_end_is_given_up_by_name(monkeypatch):
    monkeypatch.setattr("hydro.kit.line_metrics.LONGEST_SEARCH_SECONDS", 0.02)
    with pytest.raises(TooSlow, match=r"\(x\+x\+\)\+y.*backtracks"):
        read(r"(?P<loss>(x+x+)+y)", 4096 * "x")


def test_a_json_object_gives_its_numbers():
    assert read_json('{"step": 4, "loss": 0.5, "name": "x", "ok": true, "text": "2.5"}') == LineMetrics(
        {"loss": 0.5, "text": 2.5}, 4
    )


@pytest.mark.parametrize("line", ["", "[1]", "{", '"a"'])
def test_a_line_that_is_no_object_is_refused(line):
    with pytest.raises(ValueError):
        read_json(line)
