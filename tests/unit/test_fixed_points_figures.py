"""Figures of the fixed-points room, from results made by hand in the room's schema."""

import csv
import io
import json
import xml.etree.ElementTree

import datasets
import numpy as np
import pytest
from figure_words import checked_words, every_claim_of
from rgflow.report.fixed_points_figures import MAKERS
from rgflow.report.fixed_points_figures import figures as room_figures
from rgflow.report.fixed_points_flow import main_flow
from rgflow.report.fixed_points_gauges import gauges, loss_change
from rgflow.report.fixed_points_points import board_of, flow_of, panel_rows
from rgflow.report.fixed_points_readings import effect_text, readings_figures, row_name

from rgflow.engine import grid
from rgflow.fixed_points.probe import COMPRESSIONS
from rgflow.fixed_points.probe import DIMS as PROBE_DIMS
from rgflow.fixed_points.reference import DIMS as REFERENCE_DIMS
from rgflow.fixed_points.select import Network
from rgflow.protocol import Point
from rgflow.report import figures, tables

NAN = float("nan")
ORBIT, STEPS = 2, (0, 10, 90, 100)
MADE = datasets.config_of("fixed_points", "default", steps=STEPS[-1], plateau_steps=10, orbit=ORBIT)
LOSSES = ("loss", "relative_loss", "relative_optimum")
KNOWN = {"correlation_length": 1.5, "plateau": 0.01, "plateau_steps": 10.0, "steps": float(STEPS[-1])}
SETTING = {"activation": "tanh", "halvings": 2, "weight_decay": 0.0, "shuffle": "none"}
BARE = ["couplings", "on_site", "quartic", "model_free"]
TRAINED = ["readings", "flow", *BARE, "gauges", "training"]
EVERYTHING = ["readings", "flow", "flow_settings", *BARE, "gauges", "training"]


COUPLINGS = {"ising": (0.3, 1.0), "phi4": (0.3, 0.9), "gaussian": (0.4,)}


def point(data, task, coupling, **setting):
    return {"data": data, "task": task, "coupling": coupling, **SETTING, **setting}


def crossed(data, tasks, **setting):
    return [point(d, task, k, **setting) for d in data for task in tasks for k in COUPLINGS[d]]


STUDIES = {
    "tasks": crossed(("ising", "phi4"), ("autoencoder", "energy")),
    "families": crossed(("gaussian",), ("autoencoder",)),
    "activations": [point(d, "autoencoder", k, activation=a)
                    for d, k in (("ising", 1.0), ("phi4", 0.9)) for a in ("identity", "relu")],
    "depths": [point("ising", task, 1.0, halvings=n) for task in ("autoencoder", "compression") for n in (1, 3)],
    "penalised": [point("ising", "autoencoder", 1.0, weight_decay=1e-4)],
    "shuffled": [point("ising", task, 1.0, shuffle="sites") for task in ("autoencoder", "energy")],
    "compressions": crossed(COUPLINGS, ("compression",)),
}  # fmt: skip
ALL = [p for members in STUDIES.values() for p in members]
SPINS = [p for p in ALL if p["data"] == "ising" and p["task"] != "energy" and p["weight_decay"] == 0]


def flow(p):
    """Couplings by scheme and level: halved by a step of decimation, less so by block sums."""
    levels = np.arange(p["halvings"] + 1)
    return p["coupling"] * np.stack([0.5**levels, 0.8**levels])


def blank(p):
    """Returns records and reference variables without a number."""
    shapes = datasets.shapes(MADE, [Point(p, 1)], orbit=ORBIT)
    measured = {name: np.full((len(STEPS), *shapes.get(name, ())), NAN) for name in (*PROBE_DIMS, *LOSSES)}
    return measured, {name: np.full(shapes[name], NAN) for name in REFERENCE_DIMS}


def at_layers(found, p, value):
    """Writes a number into the layers of a network, in other gauges than the standardised one of the last alone."""
    found[:, : p["halvings"], 1] = value
    found[:, p["halvings"] - 1] = value


def records(p, rng):
    """Records of a run and what is known of it: a network whose couplings fall to 0.2 K, or linear maps of the data."""
    made, known = blank(p)
    known["exact_coupling"][:] = flow(p)
    if p["data"] == "ising":
        known["exact_coupling"][1] = NAN
    known["exact_kurtosis"][:] = -1.0
    known["fixed_kurtosis"][:] = (-2.0 if p["data"] == "ising" else -0.8, 0.0)
    known["fixed_onsite"][:] = NAN if p["data"] == "ising" else np.array([[0.1, 0.2, 0.0], [0.5, 0.0, 0.0]])
    noise = lambda: 0.005 * rng.standard_normal()  # noqa: E731
    if p["task"] == "compression":
        for name in (n for n in PROBE_DIMS if n.startswith("compressed_")):
            made[name][0] = 0.3 + noise()
        made["flow_coupling"][0] = 0.9 * flow(p)[:, 1:, None]
        return made, known
    for name in ("mean_coupling", "max_coupling", "ring_coupling"):
        at_layers(made[name], p, 0.2 * p["coupling"] + noise())
        made[name][0][np.isfinite(made[name][0])] = 0.45 + noise()
        made[f"floor_{name}"][:, : p["halvings"]] = 0.01 + noise()
    for name, value in (("excess_kurtosis", -0.5), ("correlation", 0.2), ("onsite", 0.1)):
        at_layers(made[name], p, value + noise())
    made["mutual_information"][:, : p["halvings"]] = 0.05 + noise()
    made["live"][:, : p["halvings"]] = 1.0
    made["relative_loss"][:] = np.array([1.2, 0.8, 0.3, 0.3]) + noise()
    made["loss"][:] = 5 * made["relative_loss"]
    made["relative_optimum"][:] = 0.2 if p["task"] == "classification" else NAN
    if p["activation"] == "identity":
        made["orbit_coupling"][:] = np.array([0.4, 0.9])[None, :, None] + noise()
        made["orbit_loss"][:] = made["loss"][:, None] * (1 + 1e-6)
    return made, known


def results(points, seeds=3, dead=(), lost=()):
    """Results of some points; runs in ``dead`` died, live runs in ``lost`` have no number from the last record on."""
    rng = np.random.default_rng(0)
    wanted = [Point(p, seeds) for p in points]
    made = [records(run.values, rng) for run in grid.expand(wanted)]
    for k in [*dead, *lost]:
        for values in made[k][0].values():
            values[0 if k in dead else -1 :] = NAN
    place = {run.identity: k for k, run in enumerate(grid.expand(wanted))}
    return datasets.results(
        MADE, wanted,
        measured=lambda run, _: made[place[run.identity]][0],
        known=lambda run, _: {**made[place[run.identity]][1], **KNOWN},
        died_at=[10 if k in dead else -1 for k in range(len(made))], schedule=STEPS, dtype=np.float64,
        attributes={"config": json.dumps({})},
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return results(ALL)


@pytest.fixture(scope="module")
def drawn(dataset):
    return {one.name.removeprefix("fixed_points_"): one for one in figures.draw("fixed_points", dataset)}


def made(data):
    with figures.style():
        return {one.name.removeprefix("fixed_points_"): one for one in room_figures(data)}


def find(rows, **values):
    """The one row that has these values."""
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, len(found))
    return found[0]


def check_texts(one):
    text = f"{one.caption} {one.alt}"
    assert one.caption.endswith(".") and one.alt.endswith(".")
    assert "nan" not in text.lower() and "$" not in text and "  " not in text
    read = list(csv.DictReader(io.StringIO(tables.csv_text(one.rows))))
    assert read and not {"nan", "inf"} & {value for row in read for value in row.values()}


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == EVERYTHING
    for one in drawn.values():
        assert one.figure.get_size_inches()[0] <= figures.WIDTH_INCHES
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")
        check_texts(one)


def test_words_say_what_would_falsify_which_claim(drawn):
    assert checked_words("fixed_points", drawn.values()) == every_claim_of("fixed_points")


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ("families", TRAINED),
        ("compressions", BARE),
        ("shuffled", []),
        ("penalised", [name for name in TRAINED if name != "quartic"]),
    ],
)
def test_one_study_alone_draws_its_own_figures(study, expected):
    found = made(results(STUDIES[study], seeds=1))
    assert list(found) == expected
    for one in found.values():
        check_texts(one)


def test_no_runs_no_figures(dataset):
    assert room_figures(dataset.isel(run=[])) == []


def test_dead_runs_and_lost_records_are_left_out():
    places = range(3 * len(SPINS))
    all_dead = made(results(SPINS, dead=places))
    assert list(all_dead) == ["readings", "flow", "flow_settings"]
    # Of every point one run died and another lost its last record.
    found = made(results(SPINS, dead=places[::3], lost=places[1::3]))
    assert list(found) == [name for name in EVERYTHING if name != "quartic"]
    for one in [*all_dead.values(), *found.values()]:
        check_texts(one)
    assert "Dead runs, left out: 2." in found["flow"].caption


def test_a_dead_point_leaves_the_others():
    board = board_of(results(SPINS, dead=(0, 1, 2)))
    with figures.style():
        found = [one for make in MAKERS for one in make(board)]
    assert [one.name.removeprefix("fixed_points_") for one in found] == [n for n in EVERYTHING[1:] if n != "quartic"]
    row = find(found[0].rows, data="ising", task="autoencoder", coupling=0.3, layer=2)
    assert row["ring_coupling"] == "" and row["dead"] == 3
    for one in found:
        check_texts(one)


def row_of_blocks(board, network):
    return flow_of(board, network, 1.0, "block_sum")[1:].round(6).tolist()


def test_flow_stands_over_the_exact_flow_of_its_own_estimator(drawn, dataset):
    board = board_of(dataset)
    spins, fields = (Network(data, "autoencoder", "tanh", 2, 0.0) for data in ("ising", "phi4"))
    assert flow_of(board, spins, 1.0, "decimation").tolist() == [1.0, 0.5, 0.25]
    # Spins have no exact coupling of block sums, fields none by their signs: both are measured.
    assert np.isnan(flow_of(board, spins, 1.0, "block_sum"))[0] and row_of_blocks(board, spins) == [0.72, 0.576]
    assert flow_of(board, fields, 0.9, "decimation")[1:] == pytest.approx(0.9 * 0.9 * np.array([0.5, 0.25]))
    assert np.isnan(flow_of(board, fields, 0.9, "decimation")[0])
    linear = Network("phi4", "autoencoder", "identity", 2, 0.0)
    assert flow_of(board, linear, 0.9, "block_sum") == pytest.approx(0.9 * 0.8 ** np.arange(3))
    row = find(drawn["flow"].rows, data="ising", task="autoencoder", coupling=1.0, layer=2)
    assert row["ring_coupling"] == pytest.approx(0.2, abs=0.02) and row["decimation"] == 0.25
    assert (
        row["untrained"] == pytest.approx(0.45, abs=0.02)
        and row["floor"] < 0.05
        and row["block_sum"] == pytest.approx(0.576)
    )
    heights = [y for line in drawn["flow"].figure.axes[0].lines for y in np.ravel(line.get_ydata())]
    assert {row["ring_coupling"], row["untrained"], 0.25, 1.0} <= set(heights)


def test_other_settings_stand_beside_the_main_one(drawn):
    rows = drawn["flow_settings"].rows
    found = {(r["activation"], r["halvings"], r["weight_decay"]) for r in rows if r["data"] == "ising"}
    assert found == {("tanh", 2, 0.0), ("identity", 2, 0.0), ("relu", 2, 0.0), ("tanh", 1, 0.0), ("tanh", 3, 0.0),
                     ("tanh", 2, 1e-4)}  # fmt: skip
    assert {row["activation"] for row in drawn["flow"].rows} == {"tanh"}


def test_controls_stand_beside_the_trained_networks(drawn):
    place = {"data": "ising", "coupling": 1.0, "measure": "ring_coupling"}
    rows = drawn["couplings"].rows
    assert find(rows, what="autoencoder", **place)["mean"] == pytest.approx(0.2, abs=0.02)
    assert find(rows, what="untrained", **place)["runs"] == 6
    for what in (*COMPRESSIONS, "energy, sites shuffled"):
        assert find(rows, what=what, **place)["mean_low"] != ""
    assert find(rows, what="exact, decimation", **place)["mean"] == 0.25
    assert {row["data"] for row in drawn["quartic"].rows} == {"phi4", "gaussian"}
    fixed = find(drawn["on_site"].rows, data="phi4", what="fixed point, decimation", coupling=0.9)
    assert fixed["mean"] == -0.8


def test_networks_without_the_premise_are_hollow():
    data = results(STUDIES["tasks"][:2])
    data["relative_loss"] = data["relative_loss"].where((data["coupling"] != 0.3) | (data["step"] < 90), 1.1)
    panel = made(data)["couplings"].figure.axes[0]
    faces = [line.get_markerfacecolor() for line in panel.lines if line.get_marker() == "o"]
    assert faces == ["white", figures.BLUE]


def test_gauges_show_orbits_with_the_change_of_the_loss(drawn, dataset):
    board = board_of(dataset)
    cell = board.networks[Network("ising", "autoencoder", "identity", 2, 0.0)][1.0]
    assert loss_change(cell) == pytest.approx(1e-6, rel=1e-3)
    labels = [tick.get_text() for tick in drawn["gauges"].figure.axes[1].get_xticklabels()]
    assert labels == ["autoencoder\nloss \u00b1 1e-06"]
    rows = [row for row in drawn["gauges"].rows if row["gauge"].startswith("orbit") and row["data"] == "ising"]
    assert [round(row["ring_coupling"], 1) for row in rows] == [0.4, 0.9]
    huge = dataset.copy()
    huge["ring_coupling"] = huge["ring_coupling"] * 1e9
    with figures.style():
        (one,) = gauges(board_of(huge))
    assert one.figure.axes[0].get_ylim()[1] < 1000 and max(row["ring_coupling"] for row in one.rows) > 1e7


def test_readings_are_written_with_all_their_fields(drawn):
    row = find(drawn["readings"].rows, data="ising", task="autoencoder", activation="tanh", halvings=2,
               weight_decay=0.0, gauge="standardised", scheme="decimation")  # fmt: skip
    # Of spins the coupling alone is judged: 0.2 of that of the data.
    assert row["farthest"] == "coupling" and 0.1 < row["mean"] < 0.4
    assert row["status"] == "contradicted" and row["adjusted"] >= row["p_value"]
    texts = [text.get_text() for text in drawn["readings"].figure.axes[0].texts]
    assert "\u2212 J " + effect_text(row["mean"]) in texts
    main = ("tanh", 2, 0.0)
    assert row_name(Network("phi4", "energy", "tanh", 2, 1e-4), main) == "phi4, energy, decay 1e-4"
    assert effect_text(-0.004) == "-0.004"


def test_many_networks_have_a_page_per_kind_of_data(dataset, monkeypatch):
    monkeypatch.setattr("rgflow.report.fixed_points_readings.MOST_ROWS", 8)
    with figures.style():
        pages = readings_figures(dataset, ("tanh", 2, 0.0))
    assert [one.name for one in pages] == [f"fixed_points_readings_{data}" for data in ("gaussian", "ising", "phi4")]
    assert {row["data"] for row in pages[2].rows} == {"phi4"}


def test_panels_of_lonely_tasks_share_rows():
    pairs = [("a", str(k)) for k in range(7)] + [("b", "x"), ("c", "x")]
    assert [len(row) for row in panel_rows(pairs)] == [5, 2, 2]


def test_other_couplings_than_the_default():
    data = results([{**p, "coupling": 3 * p["coupling"]} for p in STUDIES["tasks"]], seeds=1)
    data["exact_coupling"] = data["exact_coupling"] * -4
    with figures.style():
        (one,) = main_flow(board_of(data))
    low, high = one.figure.axes[0].get_ylim()
    assert low < -12 and high > 0.6
