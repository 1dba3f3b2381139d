"""Figures of the kernel-rg room, from results made by hand in the room's schema."""

import csv
import io
import xml.etree.ElementTree

import datasets
import numpy as np
import pytest
import xarray as xr
from figure_words import checked_words, every_claim_of
from rgflow.kernel_rg.summary import kept_steps
from rgflow.report.kernel_rg_figures import deviation
from rgflow.report.kernel_rg_figures import figures as room_figures
from rgflow.report.kernel_rg_points import complete, points_of

from rgflow.engine import grid
from rgflow.kernel_rg.reference import THEORIES
from rgflow.protocol import Point
from rgflow.report import figures, tables

NAN = float("nan")
LAYERS, TESTS, CHAINS = 3, 4, 4
LENGTHS = {"gibbs": (40, 8, 16), "hmc": (40, 8, 16), "trained": (30, 1, 4)}
STEPS = (0, 1, 4, 8, *range(10, 41, 2))
TARGETS = np.array([1.0, -0.5, 0.25, 2.0])
BASE = {
    "sampler": "gibbs", "activation": "linear", "data": "teacher", "data_seed": 0, "width": 8, "depth": 2,
    "num_train": 6, "num_inputs": 10, "sigma2": 1.0, "temperature": 0.1, "label_noise": 0.2, "label_scale": 1.0,
    "learning_rate": 0.1,
}  # fmt: skip
PADDED = {"padded__width": 64, "padded__depth": LAYERS, "padded__num_train": 20, "padded__num_inputs": 10}
MADE = datasets.config_of("kernel_rg", num_test=TESTS, **PADDED)


def point(study, **values):
    """One point of a sweep with every coordinate."""
    found = {"study": study, **BASE, **values}
    steps, burn_in, records = LENGTHS[found["sampler"]]
    return {**found, "steps": steps, "burn_in": burn_in, "records": records}


STUDIES = {
    "cases": [point("cases", depth=1), point("cases", depth=3, sigma2=0.5)],
    "hmc": [point("hmc", sampler="hmc")],
    "width": [point("width", width=n, sigma2=s) for s in (0.5, 1.5) for n in (4, 8, 64)],
    "depth": [point("depth", depth=n, sigma2=s) for s in (1.0, 2.5) for n in (1, 2, 3)],
    "size": [point("size", num_train=n, depth=1, data_seed=k) for k in (0, 1) for n in (5, 10, 20)],
    "sigma2": [point("sigma2", sigma2=s) for s in (0.5, 1.0, 2.0)],
    "data": [point("data", data=kind) for kind in ("templates", "random")],
    "relu": [point("relu", sampler="hmc", activation="relu", sigma2=s, label_scale=s) for s in (1.0, 2.0)],
    "trained": [point("trained", sampler="trained", width=n, temperature=t) for t in (0.0, 0.05) for n in (4, 16)],
}
VARIED = ("num_train", "data_seed", "data", "label_scale", "temperature")
EVERYTHING = [p for members in STUDIES.values() for p in members]
FIGURES = ["agreement", "width", "depth", "size", "sigma2", "data", "kernels_cases", "kernels_depth", "relu_mean",
           "relu_variance", "trained"]  # fmt: skip
OFFSET = {"saddle": 1.05, "exact": 1.0, "wide": 2.0, "map": 1.2}


def level(p):
    """The true Q of a point, a smooth function of its values."""
    return 0.3 + p["sigma2"] ** p["depth"] * p["width"] / (p["width"] + p["num_train"])


def theory_of(p):
    """Everything that is known of a point before it runs; the minimum of the energy only with weight decay."""
    known = {name: OFFSET[name] * np.ones(1) for name in THEORIES}
    if not (p["sampler"] == "trained" and p["temperature"] > 0):
        known["map"] = np.full(1, NAN)
    if p["activation"] == "relu":
        known["exact"] = np.full(1, NAN)
    factor = np.array([known[name][0] for name in THEORIES])
    layer = np.where(np.arange(LAYERS) < p["depth"], 0.1 * (1.0 + np.arange(LAYERS)), NAN)
    warm = 0.0 if p["temperature"] == 0 else 1.0
    zero = np.where(np.array(THEORIES) == "map", 0.0, 1.0)
    return {
        "theory_scale": factor * level(p),
        "theory_energy": 0.4 * warm * factor,
        "theory_mean": factor[:, None] * 0.9 * TARGETS,
        "theory_variance": (factor * zero)[:, None] * level(p) * np.linspace(0.5, 1.5, TESTS),
        "theory_kernel_projection": factor[:, None] * layer,
        "theory_kernel_trace": factor[:, None] * layer * 3,
        "test_targets": TARGETS,
        "zero_energy": 4.0,
        "label_norm": 1.3,
        "rank": float(min(p["num_train"], p["num_inputs"])),
        "load": min(p["num_train"], p["num_inputs"]) / p["width"],
        "coexistence": 0.0,
    }


def records_of(p, rng):
    """Records of one run: noise of 2 % around the exact theory (around the heuristic's where there is none)."""
    known = theory_of(p)
    place = THEORIES.index("saddle" if p["activation"] == "relu" else "exact")
    kept = np.isin(STEPS, kept_steps(p)) | ((np.array(STEPS) == 0) & (p["sampler"] == "trained"))
    blank = np.where(kept, 1.0, NAN)

    def noisy(values):
        values = np.asarray(values)
        noise = 1 + 0.02 * rng.standard_normal((len(STEPS), *values.shape))
        return values * noise * blank.reshape(-1, *([1] * values.ndim))

    prediction = noisy(known["theory_mean"][place])
    distance = np.where(np.isnan(known["theory_kernel_projection"]), NAN, np.array([0.05, 0.02, 0.5, NAN])[:, None])
    return {
        "scale": noisy(known["theory_scale"][place]) * (NAN if p["activation"] == "relu" else 1.0),
        "energy": noisy(known["theory_energy"][place]),
        "prediction": prediction,
        "prediction_square": prediction**2 + noisy(known["theory_variance"][place]),
        "kernel_projection": noisy(known["theory_kernel_projection"][place]),
        "kernel_trace": noisy(known["theory_kernel_trace"][place]),
        "kernel_distance": noisy(distance),
        "acceptance": 0.7 * blank,
        "step_size": 0.1 * blank,
    }


def results(points, dead=()):
    """Results of four runs per point; runs whose numbers are in ``dead`` have no finite record."""
    rng = np.random.default_rng(0)
    wanted = [Point(p, CHAINS) for p in points]
    measured = [records_of(run.values, rng) for run in grid.expand(wanted)]
    for k in dead:
        measured[k] = {name: np.full_like(values, NAN) for name, values in measured[k].items()}
    place = {run.identity: k for k, run in enumerate(grid.expand(wanted))}
    return datasets.results(
        MADE, wanted,
        measured=lambda run, _: measured[place[run.identity]], known=lambda run, _: theory_of(run.values),
        died_at=[10 if k in dead else -1 for k in range(len(measured))], schedule=STEPS, dtype=np.float64,
    )  # fmt: skip


@pytest.fixture(scope="module")
def dataset():
    return results(EVERYTHING)


@pytest.fixture(scope="module")
def drawn(dataset):
    return {one.name: one for one in figures.draw("kernel_rg", dataset)}


def maker(points, dead=()):
    with figures.style():
        return {one.name: one for one in room_figures(results(points, dead))}


def find(rows, **values):
    """The one row that has these values."""
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, len(found))
    return found[0]


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == FIGURES
    for one in drawn.values():
        assert one.figure.get_size_inches()[0] <= figures.WIDTH_INCHES
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")
        assert one.rows


def test_words_say_what_would_falsify_which_claim(drawn):
    assert checked_words("kernel_rg", drawn.values()) == every_claim_of("kernel_rg")


def test_rows_are_tables_without_nan(drawn):
    for one in drawn.values():
        read = list(csv.DictReader(io.StringIO(tables.csv_text(one.rows))))
        assert len(read) == len(one.rows)
        assert not {"nan", "inf"} & {value for row in read for value in row.values()}


@pytest.mark.parametrize("study", list(STUDIES))
def test_one_study_alone_draws_its_own_figures(study):
    expected = {
        "cases": ["agreement", "kernels_cases"], "hmc": ["agreement"], "relu": ["relu_mean", "relu_variance"],
        "trained": ["trained"], "depth": ["agreement", "depth", "kernels_depth"],
    }  # fmt: skip
    assert list(maker(STUDIES[study])) == expected.get(study, ["agreement", study])


def test_no_runs_no_figures(dataset):
    with figures.style():
        assert room_figures(dataset.isel(run=[])) == []


def kept(dataset, **values):
    """Records that count of the runs with these values."""
    here = np.ones(dataset.sizes["run"], bool)
    for name, value in values.items():
        here &= dataset[name].values == value
    return dataset.isel(run=here).sel(step=list(range(10, 41, 2)))


def test_sweep_rows_are_the_numbers_of_the_dataset(drawn, dataset):
    runs = kept(dataset, study="width", width=8, sigma2=1.5)
    where = {"width": 8, "sigma2": 1.5}
    scale = find(drawn["width"].rows, observable="scale", **where)
    assert scale["sampled"] == pytest.approx(float(runs["scale"].mean()), rel=1e-12)
    assert scale["saddle"] == pytest.approx(1.05 * level(STUDIES["width"][4]), rel=1e-12)
    assert scale["wide"] == pytest.approx(float(runs["theory_scale"].sel(theory="wide")[0]), rel=1e-12)
    assert scale["map"] == ""
    mean = runs["prediction"].mean(["run", "step"]).values
    # The mean over chains has noise of its own, whose square belongs to the variance and not to the bias.
    noise = float(runs["prediction"].mean("step").var("run", ddof=1).mean()) / CHAINS
    variance = float((runs["prediction_square"].mean(["run", "step"]) - mean**2).mean()) + noise
    assert find(drawn["width"].rows, observable="variance", **where)["sampled"] == pytest.approx(variance, rel=1e-9)
    bias = float(((mean - TARGETS) ** 2).mean()) - noise
    assert find(drawn["width"].rows, observable="bias", **where)["sampled"] == pytest.approx(bias, rel=1e-9)
    order = find(drawn["width"].rows, observable="order_parameter", **where)
    assert order["sampled"] == pytest.approx(scale["sampled"] ** 0.5, rel=1e-12)
    assert order["standard_error"] == pytest.approx(scale["standard_error"] / (2 * order["sampled"]), rel=1e-12)


def points_drawn(axes):
    """Heights of the sampled points of a panel (black round marks)."""
    lines = [line for line in axes.lines if line.get_marker() == "o" and line.get_color() == figures.INK]
    return np.concatenate([line.get_ydata() for line in lines])


def test_sampled_points_stand_at_the_numbers_of_the_table(drawn):
    one = drawn["width"]
    left = one.figure.axes[6]  # fourth of five rows, two columns: Q at the first sigma2
    rows = [row for row in one.rows if row["observable"] == "scale" and row["sigma2"] == 0.5]
    assert points_drawn(left) == pytest.approx([row["sampled"] for row in sorted(rows, key=lambda r: r["width"])])
    assert left.get_ylabel().endswith("$Q$")


def test_agreement_rows_are_standard_errors(drawn, dataset):
    row = find(drawn["agreement"].rows, study="hmc", observable="kernel_projection_2")
    values = kept(dataset, study="hmc")["kernel_projection"].sel(layer=2)
    assert row["sampled"] == pytest.approx(float(values.mean()), rel=1e-12)
    assert row["exact"] == pytest.approx(0.2, rel=1e-12)
    assert row["deviation"] == pytest.approx((row["sampled"] - 0.2) / row["standard_error"], rel=1e-12)
    # Every linear chain is compared, and neither a heuristic nor a training.
    assert {row["study"] for row in drawn["agreement"].rows} == set(STUDIES) - {"relu", "trained"}
    assert "Beyond 4: 0 of" in drawn["agreement"].caption


def test_a_wrong_sampler_is_seen():
    wrong = results(STUDIES["cases"])
    wrong["scale"] = 1.5 * wrong["scale"]
    with figures.style():
        one = room_figures(wrong)[0]
    assert "Beyond 4: 2 of" in one.caption
    texts = [text.get_text() for text in one.figure.axes[0].texts]
    assert len(texts) == 2 and all(int(text) > 8 for text in texts)


def test_peak_is_marked_where_there_are_as_many_points_as_inputs(drawn):
    for panel in drawn["size"].figure.axes:
        verticals = [line for line in panel.lines if list(line.get_xdata()) == [10.0, 10.0]]
        assert len(verticals) == 1


def test_kernel_rows_are_the_numbers_of_the_dataset(drawn, dataset):
    row = find(drawn["kernels_cases"].rows, depth=3, layer=2)
    runs = kept(dataset, study="cases", depth=3)
    assert row["projection_sampled"] == pytest.approx(float(runs["kernel_projection"].sel(layer=2).mean()), rel=1e-12)
    last = runs["kernel_distance"].sel(layer=2, step=40)
    assert row["distance_wide"] == pytest.approx(float(last.sel(theory="wide").mean()), rel=1e-12)
    error = float(last.sel(theory="exact").std(ddof=1)) / np.sqrt(CHAINS)
    assert row["distance_exact_standard_error"] == pytest.approx(error, rel=1e-12)
    assert {row["depth"] for row in drawn["kernels_depth"].rows} == {1, 2, 3}


def test_relu_is_called_a_heuristic_everywhere(drawn, dataset):
    for quantity in ("mean", "variance"):
        one = drawn[f"relu_{quantity}"]
        assert "heuristic" in one.figure.legends[0].get_title().get_text()
        assert "heuristic" in one.figure.legends[0].get_texts()[0].get_text()
        assert all("heuristic" in axes.get_title() for axes in one.figure.axes if axes.axison)
        assert "heuristic" in one.caption and "heuristic" in one.alt
    row = find(drawn["relu_mean"].rows, sigma2=2.0, test=3)
    mean = kept(dataset, study="relu", sigma2=2.0)["prediction"].sel(test=3).mean()
    assert row["sampled"] == pytest.approx(float(mean), rel=1e-12)
    assert row["heuristic"] == pytest.approx(1.05 * 0.9 * 2.0, rel=1e-12)


def test_trained_rows_hold_the_minimum_only_with_weight_decay(drawn, dataset):
    cold, warm = (
        find(drawn["trained"].rows, observable="scale", width=16, temperature=t, sampler="trained") for t in (0.0, 0.05)
    )
    assert cold["map"] == "" and warm["map"] == pytest.approx(1.2 * level(STUDIES["trained"][3]), rel=1e-12)
    last = dataset.isel(run=(dataset["study"] == "trained").values).sel(step=30)
    here = last.isel(run=((last["width"] == 16) & (last["temperature"] == 0.05)).values)
    assert warm["sampled"] == pytest.approx(float(here["scale"].mean()), rel=1e-12)
    far = find(drawn["trained"].rows, observable="mean_distance_wide", width=16, temperature=0.05)
    assert far["sampled"] == pytest.approx(0.5, abs=0.02)
    near = find(drawn["trained"].rows, observable="mean_distance_map", width=16, temperature=0.0)
    assert near["sampled"] == ""


FIRST = [CHAINS * k + c for k, p in enumerate(EVERYTHING) if p is STUDIES[p["study"]][0] for c in range(CHAINS)]
"""Runs of the first point of every study."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dead", [FIRST, range(CHAINS * len(EVERYTHING))], ids=["a point of each study", "all"])
def test_dead_runs_are_missing_and_not_zero(dead):
    drawn = {one.name: one for one in figures.draw("kernel_rg", results(EVERYTHING, dead))}
    assert list(drawn) == FIGURES
    for one in drawn.values():
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        lost = [row for row in one.rows if row["runs"] == 0]
        points = {tuple(row[name] for name in ("study", "depth", "width", "sigma2", *VARIED)) for row in lost}
        assert f"left out: {CHAINS * len(points)}." in one.caption
        sampled = [name for name in one.rows[0] if name in ("sampled", "projection_sampled", "distance_exact")]
        assert sampled and all(row[name] == "" for row in lost for name in sampled)


def test_a_dead_point_is_a_cross_and_no_mark():
    one = maker(STUDIES["sigma2"], range(CHAINS))["sigma2"]
    for panel in one.figure.axes:
        crosses = [line for line in panel.lines if line.get_marker() == "x"]
        assert [list(line.get_xdata()) for line in crosses] == [[0.5]]
        assert len(points_drawn(panel)) == 2
    labels = [text.get_text() for text in one.figure.legends[0].get_texts()]
    assert "no estimate (dead or too few runs)" in labels


def test_a_negative_estimate_is_an_arrow_on_a_logarithmic_axis():
    below = results(STUDIES["sigma2"])
    below["energy"] = below["energy"].where(below["sigma2"] != 2.0, -0.01)
    below["theory_energy"] = below["theory_energy"] * xr.where(below["sigma2"] == 0.5, 20.0, 1.0)
    with figures.style():
        one = {d.name: d for d in room_figures(below)}["sigma2"]
    panel = one.figure.axes[-1]
    assert panel.get_ylabel().startswith("training energy") and panel.get_yscale() == "log"
    assert [list(line.get_xdata()) for line in panel.lines if line.get_marker() == "v"] == [[2.0]]
    assert find(one.rows, observable="energy", sigma2=2.0)["sampled"] == pytest.approx(-0.01)


def test_some_dead_chains_leave_the_others():
    one = maker(STUDIES["sigma2"], [0])["sigma2"]
    row = find(one.rows, observable="scale", sigma2=0.5)
    runs = results(STUDIES["sigma2"], [0]).isel(run=[1, 2, 3]).sel(step=list(range(10, 41, 2)))
    assert row["sampled"] == pytest.approx(float(runs["scale"].mean()), rel=1e-12)
    assert (row["runs"], row["dead"]) == (3, 1)


@pytest.mark.filterwarnings("error")
def test_an_unfinished_sweep_is_drawn_with_what_it_lacks(dataset):
    early = dataset.sel(step=dataset["step"] <= 20)
    assert complete(early)["step"].values.tolist() == sorted({*range(21), *range(10, 41, 2), 30} & set(STEPS))
    with figures.style():
        found = room_figures(early)
    assert [one.name for one in found] == FIGURES
    assert "" in {row["sampled"] for row in found[1].rows}


def test_deviation_needs_an_error():
    found = points_of(results(STUDIES["cases"]))[0][0]
    still = found._replace(measured={"scale": found.measured["scale"]._replace(error=0.0)})
    assert np.isnan(deviation(still, "scale"))


def test_equal_results_give_equal_files(dataset, drawn):
    again = {one.name: one for one in figures.draw("kernel_rg", dataset.isel(run=dataset["study"] == "sigma2"))}
    assert again["sigma2"].svg == drawn["sigma2"].svg
