"""Panels of series: places of named points, levels, margins, scales, colours of many groups."""

import csv
import io

import numpy as np

from rgflow.judging.intervals import Interval
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series

NAMES = ["0.3", "1"]
NAN = float("nan")


def figure(panel, **options):
    return Figure("one", "A figure.", [panel], x="K", y="J", purpose="It is for a test.", **options)


def places(axes):
    """The x of all points."""
    return [x for line in axes.lines if line.get_marker() not in ("", "None", None) for x in line.get_xdata()]


def test_points_of_several_groups_stand_beside_each_other_and_those_of_one_group_together():
    values = np.ones((3, 2))
    series = [
        Series("a", "measured", NAMES, values * [[1, NAN]]),
        Series("a", "measured, premise fails", NAMES, values * [[NAN, 1]]),
        Series("b", "measured", NAMES, 2 * values),
    ]
    one = figure(Panel("p", series), markers={"b": "s"})
    axes = one.canvas.axes[0]
    points = [line for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() in ("o", "s")]
    assert [line.get_xdata().round(6).tolist() for line in points] == [[-0.2], [0.8], [0.2, 1.2]]
    assert [line.get_marker() for line in points] == ["o", "o", "s"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == NAMES


def test_names_keep_their_declared_order():
    series = [Series("a", "measured", NAMES, [[NAN, 1.0]]), Series("b", "measured", NAMES, [[2.0, 1.0]])]
    assert [tick.get_text() for tick in figure(Panel("p", series)).canvas.axes[0].get_xticklabels()] == NAMES


def test_levels_and_margins_are_drawn_and_written():
    level = Series("", "exact, decimation", NAMES, intervals=[Interval(0.5, 0.4, 0.6, 0), Interval(NAN, NAN, NAN, 0)])
    one = figure(Panel("p", [level], [Guide("fixed point", y=0.0, within=0.05)]))
    rows = list(csv.DictReader(io.StringIO(one.csv)))
    assert [(row["mean"], row["low"], row["high"]) for row in rows] == [("0.5", "0.4", "0.6"), ("0.0", "-0.05", "0.05")]
    (line,) = [line for line in one.canvas.axes[0].lines if len(line.get_xdata()) == 2]
    assert list(line.get_ydata()) == [0.5, 0.5]
    labels = [text.get_text() for text in one.canvas.legends[0].get_texts()]
    assert labels == ["exact, decimation", "fixed point"]


def test_a_scale_that_is_a_number_holds_large_numbers_of_both_signs():
    axes = figure(Panel("p", [Series("a", "measured", [0, 1], [[-2e4, 0.01]])], scale=0.05)).canvas.axes[0]
    ticks = axes.get_yticks()
    assert axes.get_yscale() == "symlog" and 0 in ticks and ticks.min() < -1000 and len(ticks) < 20


def test_many_numbers_get_one_field_of_the_colour_bar_each():
    series = [Series(k, "trained", [0, 1], [[k, k]]) for k in (0.1, 0.2, 0.3, 0.45, 1.0, 1.5, 30.0)]
    bar = figure(Panel("p", series), group="K = {:g}").canvas.axes[1]
    assert [tick.get_text() for tick in bar.get_yticklabels()][-2:] == ["K = 1.5", "K = 30"]


def test_a_legend_of_long_names_is_no_wider_than_the_figure():
    names = {k: f"a group of name {k}" for k in range(6)}
    panel = Panel("p", [Series(k, "trained", [0, 1], [[k, k]]) for k in names])
    canvas = figure(panel, group=names, colours=dict.fromkeys(names, "black")).canvas
    canvas.draw_without_rendering()
    box = canvas.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= canvas.bbox.width
    assert len({text.get_window_extent().x0 for text in canvas.legends[0].get_texts()}) > 1


def test_a_lone_place_of_a_line_has_a_bar_and_silent_series_are_not_said():
    series = [Series("a", "trained", [1], [[1.0], [3.0]]), Series("b", "trained", [1, 2], [[1.0, 2.0]], silent=True)]
    one = figure(Panel("p", series), called={"trained": "after"})
    (bars,) = [c for c in one.canvas.axes[0].collections if len(c.get_paths()) == 1 and c.get_linestyle()]
    assert bars is not None and "a, after" in one.alt and "b" not in one.alt.split("p: ")[1]
    assert [row["kind"] for row in one.rows] == ["after"] * 3
