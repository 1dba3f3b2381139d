"""Mosaics: every image over its own largest value, empty ones crossed out, and all values in the table."""

import numpy as np
import pytest

from rgflow.plots.figure import Figure
from rgflow.plots.mosaic import Mosaic

NAN = float("nan")
ENDS = ("down", "up")


def fields():
    """Two images of 2 by 2 sites, an empty one, and one that is not a number."""
    return np.array([[1.0, -2.0, 0.0, 0.0], [0.0] * 4, [0.5, 0.25, 0.0, 0.0], [NAN] * 4])


def figure(mosaic):
    return Figure("one", "Images.", [mosaic], purpose="It is for a test.", share_x=False, share_y=False)


def test_images_stand_side_by_side_over_their_own_largest_value():
    mosaic = Mosaic("all", fields(), ENDS, own_scale=True, empty="nothing")
    picture = mosaic.picture
    assert picture.shape == (5, 5)
    assert picture[:2, :2].tolist() == [[0.5, -1.0], [0.0, 0.0]] and picture[3:, :2].tolist() == [
        [1.0, 0.5],
        [0.0, 0.0],
    ]
    assert np.isnan(picture[2]).all() and np.isnan(picture[:, 2]).all() and np.isnan(picture[3:, 3:]).all()
    assert mosaic.crosses == [(3.5, 0.5)]
    axes = figure(mosaic).canvas.axes[0]
    np.testing.assert_array_equal(np.ma.filled(axes.images[0].get_array(), NAN), picture)
    assert [list(line.get_xydata()[0]) for line in axes.lines] == [[3.5, 0.5]]


def test_the_table_holds_every_value_and_the_legend_both_ends():
    one = figure(Mosaic("all", fields(), ENDS, own_scale=True, empty="nothing"))
    assert [row["values"] for row in one.rows] == ["0.5 -1 0 0", "0 0 0 0", "1 0.5 0 0"]
    assert [text.get_text() for text in one.canvas.legends[0].get_texts()] == [*ENDS, "nothing"]
    assert one.alt == "all: 3 images."


def test_values_are_drawn_as_they_are_without_a_scale_of_their_own():
    mosaic = Mosaic("all", fields() / 4, ENDS, columns=1)
    assert mosaic.picture.shape == (8, 2) and np.nanmin(mosaic.picture) == pytest.approx(-0.5)


def test_without_an_image_a_mosaic_says_so():
    axes = figure(Mosaic("none", np.full((2, 4), NAN), ENDS)).canvas.axes[0]
    assert [text.get_text() for text in axes.texts] == ["no live run"]
