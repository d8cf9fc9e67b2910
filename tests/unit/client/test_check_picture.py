"""The picture of a surrogate's checks."""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from hydro.client.check_picture import draw_ladder, draw_slopes
from hydro.client.surrogates import LadderRung, LayerSlope, Profile, Surrogate
from hydro.kit.errors import FailedPrecondition

SLOPES = (LayerSlope("first", 0.0, 0.1, "PASS"), LayerSlope("head", 0.5, 0.1, "FAIL"))
RUNGS = tuple(LadderRung(width, -3.0, {-3.5: 0.5, -3.0: 0.4, -2.5: 0.6}) for width in (0.125, 0.25))
CHECKED = Surrogate(
    "projects/p/surrogates/s", "READY", "", 0.125, 0.125, (), "", 1, 2, Profile((), 0, 0, 0), SLOPES, RUNGS
)


def test_the_picture_of_the_checks_is_a_file(tmp_path):
    CHECKED.save_picture(tmp_path / "checks.png")
    assert (tmp_path / "checks.png").read_bytes().startswith(b"\x89PNG")


def test_every_layer_has_its_slope_and_every_width_its_curve():
    slopes, ladder = Figure().subplots(1, 2)
    draw_slopes(slopes, SLOPES)
    draw_ladder(ladder, RUNGS)
    assert [each.get_text() for each in slopes.get_yticklabels()] == ["first", "head"]
    assert [each.get_text() for each in ladder.get_legend().get_texts()] == ["0.125", "0.25"]


def test_a_target_that_is_tuned_itself_has_nothing_to_draw(tmp_path):
    with pytest.raises(FailedPrecondition, match="no checks to draw"):
        replace(CHECKED, slopes=(), rungs=()).save_picture(tmp_path / "checks.png")
