"""Figures of the kernel-rg room, from results made by hand in the room's schema."""

import csv
import io
import xml.etree.ElementTree

import datasets
import numpy as np
import pytest

from rgflow.judging.claim import judge, known
from rgflow.kernel_rg.claims import CLAIMS
from rgflow.kernel_rg.figures import figures
from rgflow.kernel_rg.observables import kept_steps
from rgflow.kernel_rg.reference import THEORIES
from rgflow.kernel_rg.select import complete, place, points
from rgflow.plots import style
from rgflow.protocol import Point, Results

NAN = float("nan")
LAYERS, TESTS, CHAINS = 3, 4, 4
LENGTHS = {"gibbs": (40, 8, 16), "hmc": (40, 8, 16), "trained": (30, 1, 4)}
TARGETS = np.array([1.0, -0.5, 0.25, 2.0])
PADDED = {"padded__width": 64, "padded__depth": LAYERS, "padded__num_train": 20, "padded__num_inputs": 10}
CONFIG = datasets.config_of("kernel_rg", num_test=TESTS, **PADDED)
BASE = {
    "sampler": "gibbs", "activation": "linear", "data": "teacher", "data_seed": 0, "width": 8, "depth": 2,
    "num_train": 6, "num_inputs": 10, "sigma2": 1.0, "temperature": 0.1, "label_noise": 0.2, "label_scale": 1.0,
}  # fmt: skip


def point(study, **values):
    """One point of a sweep with every coordinate."""
    found = {"study": study, **BASE, **values}
    return {**found, **dict(zip(("steps", "burn_in", "records"), LENGTHS[found["sampler"]], strict=True))}


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
EVERYTHING = [p for members in STUDIES.values() for p in members]
FIGURES = ["agreement", "width", "depth", "size", "sigma2", "data", "kernels_cases", "kernels_depth", "relu_mean",
           "relu_variance", "trained"]  # fmt: skip
OFFSET = {"saddle": 1.05, "exact": 1.0, "wide": 2.0, "map": 1.2}


def level(p):
    """The true Q of a point, a smooth function of its values."""
    return 0.3 + p["sigma2"] ** p["depth"] * p["width"] / (p["width"] + p["num_train"])


def theory_of(p):
    """Everything that is known of a point before it runs; the minimum of the energy only with weight decay."""
    lacking = {"map": not (p["sampler"] == "trained" and p["temperature"] > 0), "exact": p["activation"] == "relu"}
    factor = np.array([NAN if lacking.get(name) else OFFSET[name] for name in THEORIES])
    layer = np.where(np.arange(LAYERS) < p["depth"], 0.1 * (1.0 + np.arange(LAYERS)), NAN)
    spread = factor * np.where(np.array(THEORIES) == "map", 0.0, 1.0)
    rank = min(p["num_train"], p["num_inputs"])
    return {
        "theory_scale": factor * level(p),
        "theory_energy": (0.0 if p["temperature"] == 0 else 0.4) * factor,
        "theory_mean": factor[:, None] * 0.9 * TARGETS,
        "theory_variance": spread[:, None] * level(p) * np.linspace(0.5, 1.5, TESTS),
        "theory_kernel_projection": factor[:, None] * layer,
        "theory_kernel_trace": factor[:, None] * layer * 3,
        "test_targets": TARGETS, "zero_energy": 4.0, "label_norm": 1.3, "rank": float(rank),
        "load": rank / p["width"], "coexistence": 0.0,
    }  # fmt: skip


def records_of(p, schedule, rng):
    """Records of one run: noise of 2 % around the exact theory (around the heuristic's where there is none)."""
    told = theory_of(p)
    truth = THEORIES.index("saddle" if p["activation"] == "relu" else "exact")

    def noisy(values):
        return np.asarray(values) * (1 + 0.02 * rng.standard_normal((len(schedule), *np.shape(values))))

    prediction = noisy(told["theory_mean"][truth])
    distance = np.where(np.isnan(told["theory_kernel_projection"]), NAN, np.array([0.05, 0.02, 0.5, NAN])[:, None])
    return {
        "scale": noisy(told["theory_scale"][truth]) * (NAN if p["activation"] == "relu" else 1.0),
        "energy": noisy(told["theory_energy"][truth]),
        "prediction": prediction,
        "prediction_square": prediction**2 + noisy(told["theory_variance"][truth]),
        "kernel_projection": noisy(told["theory_kernel_projection"][truth]),
        "kernel_trace": noisy(told["theory_kernel_trace"][truth]),
        "kernel_distance": noisy(distance),
    }


def results(values, dead=(), **scaled):
    """Results of four runs per point; of runs whose numbers are in ``dead`` nothing is finite.

    ``scaled`` are factors of records.
    """
    rng, place_of = np.random.default_rng(0), {}

    def measured(run, experiment):
        found = records_of(run.values, experiment.schedule, rng)
        number = place_of.setdefault(run.identity, len(place_of))
        return {name: x * (NAN if number in dead else scaled.get(name, 1.0)) for name, x in found.items()}

    died_at = [10 if k in dead else -1 for k in range(CHAINS * len(values))]
    return datasets.results(
        CONFIG, [Point(p, CHAINS) for p in values], measured, lambda run, _: theory_of(run.values), died_at,
        dtype=np.float64,
    )  # fmt: skip


def drawn_of(dataset):
    """The figures by name, and the verdicts that they were handed."""
    return drawn_from(Results(dataset, CONFIG))


def drawn_from(sweep):
    verdicts = judge(CLAIMS, sweep)
    return {one.name: one for one in figures(sweep, verdicts)}, verdicts


@pytest.fixture(scope="module")
def dataset():
    return results(EVERYTHING)


@pytest.fixture(scope="module")
def sweep(dataset):
    return Results(dataset, CONFIG)


@pytest.fixture(scope="module")
def both(sweep):
    return drawn_from(sweep)


@pytest.fixture(scope="module")
def drawn(both):
    return both[0]


def find(figure, kind, x=None, **parts):
    """The one row of a figure of this kind, at this x, in the panel whose name holds all parts."""
    found = [row for row in figure.rows if row["kind"] == kind and (x is None or row["x"] == x)]
    found = [row for row in found if all(text in f"{row['panel']}," for text in parts.values())]
    assert len(found) == 1, (kind, x, parts, len(found))
    return found[0]


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == FIGURES
    assert not any("nan" in f"{one.caption} {one.alt}".lower() for one in drawn.values())


@pytest.mark.slow  # the sweeps of tests/smoke draw most of them
def test_full_results_are_drawn(drawn):
    for one in drawn.values():
        assert one.canvas.get_size_inches()[0] <= style.WIDTH_INCHES
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")


def test_words_say_what_would_falsify_which_claim(drawn):
    names = {claim.name for claim in CLAIMS}
    for one in drawn.values():
        assert one.falsified_by and set(one.falsified_by) <= names
        assert one.caption.endswith(".") and "  " not in one.caption and "falsif" not in one.caption
        assert len(one.alt) > 20
    assert {claim for one in drawn.values() for claim in one.falsified_by} == names


def test_tables_hold_no_nan(drawn):
    for one in drawn.values():
        read = list(csv.DictReader(io.StringIO(one.csv)))
        assert len(read) == len(one.rows) > 0
        assert not {"nan", "inf"} & {value for row in read for value in row.values()}


@pytest.mark.parametrize("study", list(STUDIES))
def test_one_study_alone_draws_its_own_figures(study):
    expected = {
        "cases": ["agreement", "kernels_cases"], "hmc": ["agreement"], "relu": ["relu_mean", "relu_variance"],
        "trained": ["trained"], "depth": ["agreement", "depth", "kernels_depth"],
    }  # fmt: skip
    assert list(drawn_of(results(STUDIES[study]))[0]) == expected.get(study, ["agreement", study])


def test_no_runs_no_figures(dataset):
    assert drawn_of(dataset.isel(run=[]))[0] == {}


def kept(dataset, **values):
    """Records that count of the runs with these values."""
    here = np.ones(dataset.sizes["run"], bool)
    for name, value in values.items():
        here &= dataset[name].values == value
    runs = dataset.isel(run=here)
    return runs.sel(step=kept_steps({n: runs[n].values[0] for n in ("sampler", "steps", "burn_in", "records")}))


def test_points_of_a_sweep_are_the_numbers_of_the_dataset(drawn, dataset):
    runs = kept(dataset, study="width", width=8, sigma2=1.5)
    at = {"x": 8, "column": "sigma2 1.5"}
    scale = find(drawn["width"], "sampled (Gibbs)", quantity="scale Q", **at)
    assert scale["mean"] == pytest.approx(float(runs["scale"].mean()), rel=1e-12)
    q = level(STUDIES["width"][4])
    assert find(drawn["width"], "saddle point", quantity="scale Q", **at)["mean"] == pytest.approx(1.05 * q, rel=1e-6)
    assert find(drawn["width"], "infinite width", quantity="scale Q", **at)["mean"] == pytest.approx(2 * q, rel=1e-6)
    mean = runs["prediction"].mean(["run", "step"]).values
    # The mean over chains has noise of its own, whose square belongs to the variance and not to the bias.
    noise = float(runs["prediction"].mean("step").var("run", ddof=1).mean()) / CHAINS
    variance = float((runs["prediction_square"].mean(["run", "step"]) - mean**2).mean()) + noise
    found = find(drawn["width"], "sampled (Gibbs)", quantity="variance", **at)
    assert found["mean"] == pytest.approx(variance, rel=1e-9)
    bias = float(((mean - TARGETS) ** 2).mean()) - noise
    assert find(drawn["width"], "sampled (Gibbs)", quantity="bias", **at)["mean"] == pytest.approx(bias, rel=1e-9)
    order = find(drawn["width"], "sampled (Gibbs)", quantity="order parameter", **at)
    assert order["mean"] == pytest.approx(scale["mean"] ** 0.5, rel=1e-12)
    assert order["high"] - order["low"] == pytest.approx((scale["high"] - scale["low"]) / (2 * order["mean"]), rel=1e-9)


def test_effects_are_those_of_the_verdicts(both):
    drawn, verdicts = both
    for study, sigma2 in (("width", 0.5), ("width", 1.5), ("depth", 1.0), ("depth", 2.5)):
        number = known(verdicts, f"S4-{study}", f"sigma2 = {sigma2:g}").mean
        panel = next(p for p in drawn[study].panels if p.title and f"sigma2 {sigma2:g}" in p.name)
        said = panel.title.splitlines()[-1].removeprefix(f"S4-{study}: ").split()[0]
        assert float(said) == pytest.approx(number, abs=0.06)
        assert panel.title.splitlines()[-1] in panel.name
    trained = drawn["trained"]
    for temperature in (0.0, 0.05):
        where = {"x": "16 x 1", "panel": f"T = {temperature:g},"}
        at = f"trained: N = 16, L = 2, P = 6, sigma2 = 1, T = {temperature:g}, labels x 1"
        far = find(trained, "distance from exact at finite width", **where)
        assert [far[n] for n in ("mean", "low", "high")] == list(known(verdicts, "S4-trained mean", at)[:3])
        excess = find(trained, "gradient descent", quantity="excess", **where)
        assert [excess[n] for n in ("mean", "low", "high")] == list(known(verdicts, "S4-trained variance", at)[:3])
    for quantity in ("mean", "variance"):
        for panel in drawn[f"relu_{quantity}"].panels:
            claim = f"S4-ReLU {quantity} [{panel.name.partition(', heuristic')[0]}]"
            number = next(v for v in verdicts if v.claim == claim).measured
            assert float(panel.title.split("off by ")[1].split()[0]) == pytest.approx(number, abs=0.06)


def test_agreement_is_in_standard_errors(drawn, dataset):
    rows = [row for row in drawn["agreement"].rows if row["place"].startswith("hmc") and row["name"].endswith("_2")]
    assert [row["panel"] for row in rows] == [panel.x for panel in drawn["agreement"].panels]
    row = rows[0]
    values = kept(dataset, study="hmc")["kernel_projection"].sel(layer=2)
    assert row["sampled"] == pytest.approx(float(values.mean()), rel=1e-12)
    assert row["exact"] == pytest.approx(0.2, rel=1e-6)
    assert row["value"] == pytest.approx((row["sampled"] - row["exact"]) / row["error"], rel=1e-9)
    # Every linear chain is compared, and neither a heuristic nor a training.
    studies = {row["place"].partition(":")[0] for row in drawn["agreement"].rows}
    assert studies == set(STUDIES) - {"relu", "trained"}
    assert "0 of" in drawn["agreement"].caption and "beyond 4" in drawn["agreement"].caption


def test_a_wrong_sampler_is_seen():
    one = drawn_of(results(STUDIES["cases"], scale=1.5))[0]["agreement"]
    assert "2 of" in one.caption
    texts = [text.get_text() for text in one.canvas.axes[0].texts]
    assert len(texts) == 2 and all(int(text) > 8 for text in texts)


def test_peak_is_marked_where_there_are_as_many_points_as_inputs(drawn):
    for panel in drawn["size"].panels:
        assert [(guide.x, guide.y) for guide in panel.guides] == [(10.0, None)]


def test_kernels_are_the_numbers_of_the_dataset(drawn, dataset):
    runs = kept(dataset, study="cases", depth=3)
    at = {"x": "2", "network": "L = 3"}
    projection = find(drawn["kernels_cases"], "sampled (Gibbs)", **at)
    assert projection["mean"] == pytest.approx(float(runs["kernel_projection"].sel(layer=2).mean()), rel=1e-12)
    last = runs["kernel_distance"].sel(layer=2, step=40)
    far = find(drawn["kernels_cases"], "distance from infinite width", **at)
    assert far["mean"] == pytest.approx(float(last.sel(theory="wide").mean()), rel=1e-12)
    error = float(last.sel(theory="wide").std(ddof=1)) / np.sqrt(CHAINS)
    assert far["high"] - far["mean"] == pytest.approx(3.182446 * error, rel=1e-6)
    relative = find(drawn["kernels_depth"], "sampled (Gibbs)", x="3", what="projection", at="sigma2 = 2.5")
    deep = kept(dataset, study="depth", depth=3, sigma2=2.5)["kernel_projection"].sel(layer=3).mean()
    assert relative["mean"] == pytest.approx(float(deep) / 0.6, rel=1e-6)


def test_relu_is_called_a_heuristic_everywhere(drawn, dataset):
    for quantity in ("mean", "variance"):
        one = drawn[f"relu_{quantity}"]
        labels = [text.get_text() for text in one.canvas.legends[0].get_texts()]
        assert any("heuristic" in label for label in labels)
        assert all("heuristic" in panel.title for panel in one.panels)
        assert "heuristic" in one.caption and "heuristic" in one.alt
    predicted = pytest.approx(1.05 * 0.9 * 2.0, rel=1e-6)
    kind = "heuristic (saddle point, ReLU kernel)"
    row = find(drawn["relu_mean"], kind, x=predicted, network="sigma2 = 2")
    mean = kept(dataset, study="relu", sigma2=2.0)["prediction"].sel(test=3).mean()
    assert row["mean"] == pytest.approx(float(mean), rel=1e-12)


def test_the_minimum_is_there_only_with_weight_decay(drawn, dataset):
    kinds = {(row["kind"], row["panel"].rpartition(", ")[2]) for row in drawn["trained"].rows}
    assert ("minimum of the energy", "T = 0.05") in kinds and ("minimum of the energy", "T = 0") not in kinds
    at = {"x": "16 x 1", "quantity": "scale Q", "panel": "T = 0.05,"}
    minimum = find(drawn["trained"], "minimum of the energy", **at)
    assert minimum["mean"] == pytest.approx(1.2 * level(STUDIES["trained"][3]), rel=1e-6)
    last = kept(dataset, study="trained", width=16, temperature=0.05)
    assert find(drawn["trained"], "gradient descent", **at)["mean"] == pytest.approx(float(last["scale"].mean()))


FIRST = [CHAINS * k + c for k, p in enumerate(EVERYTHING) if p is STUDIES[p["study"]][0] for c in range(CHAINS)]
"""Runs of the first point of every study."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dead", [FIRST, pytest.param(range(CHAINS * len(EVERYTHING)), marks=pytest.mark.slow)],
                         ids=["a point of each study", "all"])  # fmt: skip
def test_dead_runs_are_missing_and_not_zero(dead, drawn):
    found, _ = drawn_of(results(EVERYTHING, dead))
    assert list(found) == FIGURES
    for one in found.values():
        assert one.canvas and "nan" not in f"{one.caption} {one.alt}".lower()
        # Of the networks of growing depth the first is none of the deepest.
        assert ("Dead runs left out: " in one.caption) == (one.name != "kernels_depth" or dead is not FIRST)
        left = [sum(row["kind"].startswith(("sampled", "gradient")) for row in f.rows) for f in (one, drawn[one.name])]
        assert left[0] < left[1] or left[1] == 0 or one.name == "kernels_depth"
        assert left[0] == 0 or dead is FIRST


def test_a_lost_number_is_a_cross():
    one = drawn_of(results(STUDIES["sigma2"], range(CHAINS)))[0]["agreement"]
    labels = [text.get_text() for text in one.canvas.legends[0].get_texts()]
    assert "no estimate (dead or too few runs)" in labels
    crosses = [line for line in one.canvas.axes[0].lines if line.get_marker() == "x"]
    assert len(crosses) == 6  # four numbers and two layers


def test_zero_is_an_arrow_on_a_logarithmic_axis():
    one = drawn_of(results(STUDIES["trained"], energy=0.05))[0]["trained"]
    cold, warm = one.canvas.axes[-2:]
    assert cold.get_yscale() == "log"
    assert sum(len(line.get_xdata()) for line in cold.lines if line.get_marker() == "v") == 2 * 4
    assert not [line for line in warm.lines if line.get_marker() == "v"]


def test_some_dead_chains_leave_the_others():
    one = drawn_of(results(STUDIES["sigma2"], [0]))[0]["sigma2"]
    row = find(one, "sampled (Gibbs)", x=0.5, quantity="scale Q")
    runs = kept(results(STUDIES["sigma2"], [0]), sigma2=0.5).isel(run=[1, 2, 3])
    assert row["mean"] == pytest.approx(float(runs["scale"].mean()), rel=1e-12)
    assert row["runs"] == 3
    assert "Dead runs left out: 1." in one.caption


@pytest.mark.filterwarnings("error")
def test_an_unfinished_sweep_is_drawn_with_what_it_lacks(dataset):
    early = dataset.sel(step=dataset["step"] <= 20)
    assert complete(early)["step"].values.tolist() == dataset["step"].values.tolist()
    found, _ = drawn_of(early)
    assert list(found) == FIGURES
    assert not [row for row in found["width"].rows if row["kind"] == "sampled (Gibbs)"]


def test_equal_results_give_equal_files(dataset, drawn):
    again, _ = drawn_of(dataset.isel(run=dataset["study"].values == "sigma2"))
    assert again["sigma2"].svg == drawn["sigma2"].svg


def test_places_tell_points_apart(sweep):
    names = [place(point) for point in sweep.once(points)]
    assert len(set(names)) == len(names) == len(EVERYTHING)
