"""Figures of the fixed-points room, from results made by hand in the room's schema."""

import csv
import io
import xml.etree.ElementTree

import datasets
import ml_collections
import numpy as np
import pytest

from rgflow.engine import health
from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points import figures as module
from rgflow.fixed_points.claims import CLAIMS, orbits, place_of
from rgflow.fixed_points.figures import effect_text, figures
from rgflow.fixed_points.probe import DIMS as PROBE_DIMS
from rgflow.fixed_points.probe import ESTIMATORS, GAUGES, POWERS
from rgflow.fixed_points.reference import DIMS as REFERENCE_DIMS
from rgflow.fixed_points.select import Network, overview
from rgflow.fixed_points.task import COMPRESSIONS
from rgflow.judging.claim import judge
from rgflow.plots import style
from rgflow.protocol import Point, Results

NAN = float("nan")
ORBIT, STEPS = 2, (0, 10, 90, 100)
MADE = datasets.config_of("fixed_points", "default", steps=STEPS[-1], plateau_steps=10, orbit=ORBIT)
SIZES = {"gauge": len(GAUGES), "estimator": len(ESTIMATORS), "power": len(POWERS), "compression": len(COMPRESSIONS),
         "scheme": len(SCHEMES), "orbit": ORBIT}  # fmt: skip
LOSSES = ("loss", "relative_loss", "relative_optimum")
DIMS = {**PROBE_DIMS, **REFERENCE_DIMS, **dict.fromkeys(LOSSES, ())}
KNOWN = {"correlation_length": 1.5, "plateau": 0.01, "plateau_steps": 10.0, "steps": float(STEPS[-1])}
SETTING = {"activation": "tanh", "halvings": 2, "weight_decay": 0.0, "shuffle": "none"}
BARE = ["couplings", "on_site", "quartic", "model_free"]
TRAINED = ["readings", "flow", *BARE, "gauges", "training", "loss"]
EVERYTHING = ["readings", "flow", "flow_settings", *BARE, "gauges", "orbits", "training", "loss"]


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


def flow(p, depth):
    """Couplings by scheme and level: halved by a step of decimation, less so by block sums."""
    levels = np.arange(depth + 1)
    found = p["coupling"] * np.stack([0.5**levels, 0.8**levels])
    return np.where(levels[None, :] <= p["halvings"], found, NAN)


def blank(name, depth):
    lead = (len(STEPS),) if name in PROBE_DIMS or name in LOSSES else ()
    sizes = {**SIZES, "layer": depth, "level": depth + 1}
    return np.full((*lead, *(sizes[dim] for dim in DIMS[name])), NAN)


def at_layers(found, p, value):
    """Writes a number into the layers of a network, in other gauges than the standardised one of the last alone."""
    found[:, : p["halvings"], 1] = value
    found[:, p["halvings"] - 1] = value


def records(p, rng, depth):
    """Records of one run: a network whose couplings fall to 0.2 K, or linear maps of the data."""
    made = {name: blank(name, depth) for name in DIMS}
    made["exact_coupling"][:] = flow(p, depth)
    if p["data"] == "ising":
        made["exact_coupling"][1] = NAN
    made["exact_kurtosis"][:] = -1.0
    made["fixed_kurtosis"][:] = (-2.0 if p["data"] == "ising" else -0.8, 0.0)
    made["fixed_onsite"][:] = NAN if p["data"] == "ising" else np.array([[0.1, 0.2, 0.0], [0.5, 0.0, 0.0]])
    noise = lambda: 0.005 * rng.standard_normal()  # noqa: E731
    if p["task"] == "compression":
        for name in (n for n in PROBE_DIMS if n.startswith("compressed_")):
            made[name][0] = 0.3 + noise()
        made["flow_coupling"][0] = 0.9 * flow(p, depth)[:, 1:, None]
        return made
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
    return made


def results(points, seeds=3, dead=(), lost=()):
    """Results of some points; runs in ``dead`` died, live runs in ``lost`` have no number from the last record on."""
    rng, depth = np.random.default_rng(0), max(p["halvings"] for p in points)
    made = [records(p, rng, depth) for p in points for _ in range(seeds)]
    for k in [*dead, *lost]:
        for name in (n for n in made[k] if n in PROBE_DIMS or n in LOSSES):
            made[k][name][0 if k in dead else -1 :] = NAN
    every = {name: np.stack([one[name] for one in made]) for name in DIMS}
    known = KNOWN | {name: every.pop(name) for name in REFERENCE_DIMS}
    died = [10 if k in dead else health.NEVER for k in range(len(made))]
    return datasets.results(MADE, [Point(p, seeds) for p in points], every, known, died, STEPS)


def by_name(found):
    return {one.name.removeprefix("fixed_points_"): one for one in found}


def made(data):
    found = Results(data, ml_collections.ConfigDict({}))
    return by_name(figures(found, judge(CLAIMS, found)))


@pytest.fixture(scope="module")
def dataset():
    return results(ALL)


@pytest.fixture(scope="module")
def sweep(dataset):
    return Results(dataset, ml_collections.ConfigDict({}))


@pytest.fixture(scope="module")
def verdicts(sweep):
    return judge(CLAIMS, sweep)


@pytest.fixture(scope="module")
def drawn(sweep, verdicts):
    return by_name(figures(sweep, verdicts))


def find(one, **values):
    """The one row of a figure's table that has these values."""
    found = [row for row in one.rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, len(found))
    return found[0]


def check(one):
    text = f"{one.caption} {one.alt} {one.falsified}"
    assert one.caption.endswith(".") and one.alt.endswith(".") and one.falsified.endswith(".")
    assert "nan" not in text.lower() and "  " not in text and len(one.alt) > 20
    assert set(one.falsified_by) <= {claim.name for claim in CLAIMS}
    assert bool(one.falsified_by) != bool(one.purpose), one.name
    read = list(csv.DictReader(io.StringIO(one.csv)))
    assert read and not {"nan", "inf"} & {value for row in read for value in row.values()}


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == EVERYTHING
    for one in drawn.values():
        check(one)


@pytest.mark.slow  # the sweeps of tests/smoke draw most of them
def test_full_results_are_drawn(drawn):
    for one in drawn.values():
        assert one.canvas.get_size_inches()[0] <= style.WIDTH_INCHES
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")
        # Nothing is wider than the page: neither the legend nor the names of rows.
        box = one.canvas.get_tightbbox()
        assert box.x0 > -0.05 and box.x1 < one.canvas.get_figwidth() + 0.05, one.name


def test_every_claim_has_a_figure_that_would_falsify_it(drawn):
    assert {claim for one in drawn.values() for claim in one.falsified_by} == {claim.name for claim in CLAIMS}


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
        check(one)


def test_no_runs_no_figures(dataset):
    assert made(dataset.isel(run=[])) == {}


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_dead_runs_and_lost_records_are_left_out():
    places = range(3 * len(SPINS))
    assert list(made(results(SPINS, dead=places))) == ["readings"]
    # Of every point one run died and another lost its last record.
    found = made(results(SPINS, dead=places[::3], lost=places[1::3]))
    assert list(found) == [name for name in EVERYTHING if name != "quartic"]
    for one in found.values():
        check(one)
    assert f"Dead runs left out: {len(SPINS)}." in found["flow"].caption
    panel = "Ising\nautoencoder\n$K$ = 0.3, 1"
    assert find(found["flow"], panel=panel, group="K2", kind="trained", x=2)["runs"] == 1


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_a_dead_point_leaves_the_others():
    found = made(results(SPINS, dead=(0, 1, 2)))
    assert list(found) == [name for name in EVERYTHING if name != "quartic"]
    trained = {row["group"] for row in found["flow"].rows if row["kind"] == "trained"}
    assert trained == {"K2"}
    for one in found.values():
        check(one)


def test_squares_hold_the_numbers_of_the_verdicts(drawn, verdicts):
    verdicts = {v.claim: v for v in verdicts if v.status != "not_run" and "all readings" not in v.claim}
    rows = drawn["readings"].rows
    assert {row["claim"] for row in rows} == set(verdicts)
    for row in rows:
        verdict = verdicts[row["claim"]]
        assert (row["status"], row["mean"], row["low"], row["high"]) == (
            verdict.status, verdict.measured, verdict.low, verdict.high)  # fmt: skip
        assert (row["runs"], row["dead"]) == (verdict.n_runs, verdict.n_dead)
    row = find(drawn["readings"], claim="S2 [ising, autoencoder, tanh, 2 halvings; standardised, decimation]")
    # Of spins the coupling alone is judged: 0.2 of that of the data. Three runs do not decide among so many readings.
    assert row["status"] == "undecided" and 0.1 < row["mean"] < 0.4 and row["adjusted"] >= row["p_value"]
    assert row["text"] == f"? J {effect_text(row['mean'])}" and row["row"] == "ising: / autoencoder"
    moved = find(drawn["readings"], claim="S2-gauge [ising, autoencoder, identity, 2 halvings]")
    assert moved["status"] == "contradicted" and moved["text"] == f"\u2212 \u0394J {effect_text(moved['mean'])}"
    penalised = find(drawn["readings"], claim="S2-flow [ising, autoencoder, tanh, 2 halvings, weight decay 0.0001; "
                     "block_sum]")  # fmt: skip
    assert penalised["row"] == "ising: / autoencoder, decay 0.0001" and "\u0394J" in penalised["text"]


def test_many_networks_have_a_page_per_kind_of_data(sweep, verdicts, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 8)
    pages = [one for name, one in by_name(figures(sweep, verdicts)).items() if name.startswith("readings")]
    assert [one.name for one in pages] == [f"fixed_points_readings_{data}" for data in ("ising", "gaussian", "phi4")]
    assert {row["row"].partition(":")[0] for row in pages[2].rows} == {"phi4"}


def test_flow_stands_over_the_data_after_as_many_steps(drawn):
    place = {"panel": "Ising\nautoencoder\n$K$ = 0.3, 1", "group": "K2"}
    assert find(drawn["flow"], **place, kind="trained", x=0)["mean"] == 1.0
    assert find(drawn["flow"], **place, kind="trained", x=2)["mean"] == pytest.approx(0.2, abs=0.02)
    assert find(drawn["flow"], **place, kind="measured, untrained", x=2)["mean"] == pytest.approx(0.45, abs=0.02)
    assert find(drawn["flow"], **place, kind="exact flow, decimation", x=2)["mean"] == pytest.approx(0.9 * 0.25)
    assert find(drawn["flow"], **place, kind="exact flow, block sums", x=2)["mean"] == pytest.approx(0.9 * 0.64)
    assert 0 < find(drawn["flow"], **place, kind="noise floor", x=2)["high"] < 0.05
    # The signs of fields have no coupling that would be known exactly: their flow starts at the first layer.
    fields = [row for row in drawn["flow"].rows if row["panel"].startswith(r"$\phi^4$") and row["kind"] == "trained"]
    assert {row["x"] for row in fields} == {1, 2}


def test_other_settings_stand_beside_the_main_one(drawn):
    rows = drawn["flow_settings"].rows
    found = {row["group"] for row in rows if row["panel"].startswith("Ising") and row["kind"] == "trained"}
    assert found == {"tanh, 2 halvings", "identity, 2 halvings", "relu, 2 halvings", "tanh, 1 halvings",
                     "tanh, 3 halvings", "tanh, 2 halvings, weight decay 0.0001"}  # fmt: skip
    # The exact flow reaches as far as the deepest network.
    exact = [row["x"] for row in rows if row["panel"].startswith("Ising") and row["kind"] == "exact flow, decimation"]
    assert exact == [1, 2, 3]


def test_what_needs_no_training_stands_beside_the_trained_networks(drawn):
    place = {"panel": "Ising: ring coupling", "x": "1"}
    assert find(drawn["couplings"], group="autoencoder", **place)["mean"] == pytest.approx(0.2, abs=0.02)
    assert find(drawn["couplings"], group="untrained", **place)["runs"] == 6
    for group in ("random projection", "principal components", "decimated", "block sums", "energy, sites shuffled"):
        assert np.isfinite(find(drawn["couplings"], group=group, **place)["low"])
    assert find(drawn["couplings"], kind="exact, decimation", **place)["mean"] == 0.25
    assert not any(row["kind"].startswith("exact") for row in drawn["couplings"].rows if "phi" in row["panel"])
    assert {row["panel"] for row in drawn["quartic"].rows} == {
        rf"{name}: $\theta_4$, standardised" for name in (r"$\phi^4$", "Gaussian")}  # fmt: skip
    fixed = find(drawn["on_site"], panel=r"$\phi^4$: excess kurtosis", kind="exact, decimation", x="0.9")
    assert (fixed["mean"], fixed["low"], fixed["high"]) == pytest.approx((-0.8, -0.9, -0.7))


def test_networks_without_the_premise_are_hollow():
    data = results(STUDIES["tasks"][:2])
    data["relative_loss"] = data["relative_loss"].where((data["coupling"] != 0.3) | (data["step"] < 90), 1.1)
    rows = [row for row in made(data)["couplings"].rows if row["group"] == "autoencoder"]
    assert {(row["x"], row["kind"]) for row in rows} == {("0.3", "measured, premise fails"), ("1", "measured")}


def test_gauges_and_orbits(drawn, sweep, verdicts):
    panels = {row["panel"] for row in drawn["gauges"].rows if row["panel"].startswith("Ising")}
    assert panels == {"Ising, $K$ = 1: score matching", "Ising, $K$ = 1: pseudo-likelihood of signs (judged)"}
    network = Network("ising", "autoencoder", "identity", 2, 0.0)
    verdict = next(v for v in verdicts if v.claim == f"S2-gauge [{place_of(network)}]")
    rows = [row for row in drawn["orbits"].rows if row["panel"].startswith("Ising")]
    assert {row["panel"].splitlines()[1][:10] for row in rows} == {f"spread {verdict.measured:.1f}"}
    seen = sweep.once(overview)
    members = orbits(network, seen.trained[network])[1.0]
    assert sorted(row["mean"] for row in rows if row["kind"] == "measured") == sorted(members.ravel().tolist())


def test_training_shows_every_recorded_step(drawn):
    place = {"panel": "Ising\nautoencoder\n$K$ = 0.3, 1", "group": "K2", "kind": "trained"}
    rows = [row for row in drawn["loss"].rows if all(row[name] == value for name, value in place.items())]
    assert [row["x"] for row in rows] == list(STEPS)
    assert [row["mean"] for row in rows] == pytest.approx([1.2, 0.8, 0.3, 0.3], abs=0.02)
    assert not any(row["kind"] == "exact" for row in drawn["loss"].rows)
