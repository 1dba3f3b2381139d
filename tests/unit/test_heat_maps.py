"""Heat maps: colours that text stands out from, scales that hold their values, hatching where there is none."""

import numpy as np
from matplotlib.figure import Figure

from rgflow.report import heat_maps


def test_text_stands_out_from_every_colour():
    for scale in (heat_maps.sequential("R", [0.5], 1.0), heat_maps.diverging("S", [-2.0], 0.6)):
        for value in np.linspace(scale.low, scale.high, 30):
            colour = scale.colour(float(value))
            light, ink = heat_maps.luminance(colour), 0.0 if heat_maps.ink_on(colour) == "black" else 1.0
            brighter, darker = max(light, ink), min(light, ink)
            assert (brighter + 0.05) / (darker + 0.05) > 4.5


def test_scales_hold_every_value_and_ignore_nan():
    assert heat_maps.sequential("R", [0.5, float("nan")], 1.0).high == 1.0
    assert heat_maps.sequential("R", [1.7], 1.0).high == 1.7
    scale = heat_maps.diverging("S", [-2.0, 0.5, float("nan")], 0.6)
    assert (scale.low, scale.high) == (-2.0, 2.0)
    assert scale.colour(-1.0)[2] > scale.colour(-1.0)[0]  # blue below 0
    assert scale.colour(1.0)[0] > scale.colour(1.0)[2]


def test_squares_are_filled_hatched_and_outlined():
    axes = Figure().subplots()
    squares = [[heat_maps.Square(0.5, "half", outlined=True), heat_maps.Square(float("nan"), "none")]]
    heat_maps.draw_map(axes, squares, ["row"], ["a", "b"], heat_maps.sequential("R", [0.5], 1.0))
    assert [bool(patch.get_hatch()) for patch in axes.patches] == [False, False, True]
    assert [patch.get_fill() for patch in axes.patches] == [True, False, True]
    assert [text.get_text() for text in axes.texts] == ["half", "none"]
