"""A room that declares one claim and one figure gets table, report, CSV and ledger row, and touches no other file."""

import csv
import json

import sweeps
import warm

PACKAGE = '''"""Coins: does a fair coin fall on heads half of the time?

Reference keys: Bernoulli1713 = Ars conjectandi.
"""

import jax

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import equivalent
from rgflow.judging.intervals import t_interval
from rgflow.judging.points import split_points
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide, Panel, Series
from rgflow.protocol import Claim, Experiment


def make(config):
    """Returns the experiment of one coin, which is thrown at every step."""

    def init(key, hypers):
        return jax.numpy.zeros(2)

    def step(key, state, hypers):
        return state + jax.numpy.array([1.0, jax.random.bernoulli(key, hypers["heads"])]), {}

    def probe(key, state, hypers):
        return {"share": state[1] / jax.numpy.maximum(state[0], 1)}

    return Experiment("coin", {"heads": config.heads}, init, step, probe, (0, 50, 200), {})


def half(results):
    """Yields whether each coin falls on heads half of the time."""
    for point in split_points(results.dataset):
        interval = t_interval(point.last("share") - 0.5)
        yield Finding(f"heads = {point.values['heads']}", interval, equivalent(interval, 0.1, {}),
                      (point.runs, point.dead), {})


CLAIMS = (Claim("coin", "Bernoulli1713", "A coin falls on heads half of the time.", "share within 0.1 of 1/2",
                "a coin", half),)


def figures(results, verdicts):
    """Returns the share of heads against throws."""
    series = [Series(p.values["heads"], "measured", p.live["step"].values[1:], p.live["share"].values[:, 1:])
              for p in split_points(results.dataset)]
    return [Figure(name="heads", x="throws", y="share of heads", group="heads = {}", caption="Shares of heads.",
                   falsified_by={"coin": "points that stay away from the line"},
                   panels=[Panel("coins", series, [Guide("one half", y=0.5)])])]
'''

CONFIG = '''"""Coins."""

from configs import common
from rgflow.protocol import Point


def get_config(preset="default"):
    """Returns the config."""
    config = common.get_config("coins")
    config.heads = 0.5
    config.seeds = 6
    return config


def get_sweep(config):
    """Returns a fair coin and another one."""
    return [Point({"heads": heads}, config.seeds) for heads in (0.5, 0.9)]
'''


def run(folder, *arguments):
    return sweeps.ended(warm.Process(["-m", *arguments], warm.environment(PYTHONPATH=str(folder)), folder))


def test_a_stub_room_gets_everything(tmp_path):
    (tmp_path / "coins").mkdir()
    (tmp_path / "coins" / "__init__.py").write_text(PACKAGE)
    (tmp_path / "coin_config.py").write_text(CONFIG)
    printed = run(tmp_path, "launch.sweep", "--config=coin_config.py", "--workdir=out")
    assert "coin [heads = 0.5]" in printed and "supported" in printed and "contradicted" in printed

    verdicts = json.loads((tmp_path / "out" / "verdicts.json").read_text())
    assert [(v["claim"], v["status"]) for v in verdicts] == [
        ("coin [heads = 0.5]", "supported"),
        ("coin [heads = 0.9]", "contradicted"),
    ]
    with (tmp_path / "out" / "tables" / "heads.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "measured"]
    # What the figure shows at the last throw is the number of the verdict.
    for verdict, heads in zip(verdicts, ("0.5", "0.9"), strict=True):
        (row,) = [row for row in rows if row["x"] == "200" and row["group"] == f"heads = {heads}"]
        for drawn, judged in (("mean", "measured"), ("low", "low"), ("high", "high")):
            assert abs(float(row[drawn]) - 0.5 - verdict[judged]) < 1e-12
    page = (tmp_path / "out" / "report.html").read_text()
    assert "A coin falls on heads half of the time." in page and "figure-heads" in page
    assert (tmp_path / "out" / "figures" / "heads.svg").stat().st_size > 1000

    run(tmp_path, "launch.report", "--all", "out", "--config=coin_config.py", "--out=all.md")
    (row,) = [line for line in (tmp_path / "all.md").read_text().splitlines() if line.startswith("| **coin**")]
    assert "Bernoulli1713" in row and "holds in some places, fails in others" in row
