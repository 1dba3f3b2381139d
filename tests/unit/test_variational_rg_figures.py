"""Figures of the variational-rg room, from results made by hand in the room's schema."""

import csv
import io
import xml.etree.ElementTree
import zlib

import datasets
import numpy as np
import pytest

from rgflow.exact.ising import CRITICAL_COUPLING, axis_correlation_length
from rgflow.exact.torus import kaufman_energy, kaufman_specific_heat
from rgflow.judging.claim import judge, known
from rgflow.plots import style
from rgflow.protocol import Point, Results
from rgflow.variational_rg import select
from rgflow.variational_rg.claims import CLAIMS
from rgflow.variational_rg.figures import figures
from rgflow.variational_rg.small import DIMS as MACHINE

NAN = float("nan")
SEEDS = 3
STRENGTHS, COUPLINGS = (0.0, 2e-4, 2e-3, 8e-3), (0.3, 0.408, CRITICAL_COUPLING, 0.5, 0.6)
STACK = ["fields", "field_sizes", "reconstructions", "couplings", "model", "stack_claims"]
EVERYTHING = ["fields", "fields_controls", *STACK[1:], "trace_condition", "lattice"]


def point(system, size, **values):
    shared = {"coupling": 0.408, "l1": 2e-4, "shuffle": "none", "algorithm": "cd", "sweeps": 1, "small.hidden": 4}
    return {**shared, "system": system, "size": size, **values}


def stack(**values):
    return point("stack", 8, **values)


STUDIES = {
    "lattice": [point("lattice", n, coupling=k) for n in (16, 32) for k in COUPLINGS[1:3]],
    "strength": [stack(l1=x) for x in STRENGTHS],
    "coupling": [stack(l1=2e-3, coupling=k) for k in COUPLINGS if k != 0.408],
    "shuffled": [stack(l1=x, shuffle=s) for s in ("sites", "bonds") for x in STRENGTHS[2:]],
    "small": [
        point("small", 3, algorithm=a, sweeps=k, l1=0.0) for a, k in (("exact", 1), ("cd", 1), ("cd", 10), ("pcd", 1))
    ],
}
ALL = [p for members in STUDIES.values() for p in members]
FIRST = [SEEDS * ALL.index(members[0]) for members in STUDIES.values()]
"""The first run of the first point of every study."""


def config_of(layers=(16, 4)):
    lattice = {"lattice__steps": 34, "lattice__records": 17, "lattice__levels": 2}
    return datasets.config_of("variational_rg", stack__layers=layers, **lattice)


def bumps(size, layers, width, shuffle, rng):
    """Gaussian patches on a periodic lattice: fields [layer, unit, site]; single sites where sites are shuffled."""
    found = np.full((len(layers), max(layers), size**2), NAN)
    place = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1)
    for layer, units in enumerate(layers):
        for unit in range(units):
            far = np.abs(place - rng.uniform(0, size, 2)[None, None])
            far = np.minimum(far, size - far) * np.array([1.0, 3.0 if shuffle == "bonds" else 1.0])[None, None]
            spread = 0.4 if shuffle == "sites" else width * (1 + 0.7 * layer)
            field = np.exp(-(far**2).sum(-1) / (2 * spread**2)) + 0.05 * rng.standard_normal((size, size))
            found[layer, unit] = rng.choice([-1, 1]) * field.reshape(-1)
    found[0, 1] = 0.0
    return found


def stack_records(p, layers, rng):
    """Records of one stack."""
    size, coupling, count = p["size"], p["coupling"], len(layers)
    width, sites, reach = 0.4 * size / (1 + 400 * p["l1"]), size**2, np.arange(1, size // 2 + 1)
    by_layer = 0.1 * np.arange(1, count + 1)
    fields = bumps(size, layers, width, p["shuffle"], rng)
    there = np.isfinite(fields[..., 0]) & (np.abs(fields).max(-1) > 0)
    sample = np.sign(np.cumsum(rng.standard_normal((4, sites)), axis=1))
    noise = lambda: 1 + 0.02 * rng.standard_normal()  # noqa: E731
    flow = lambda power: coupling * 0.8 ** (power * np.arange(1, count + 1))  # noqa: E731
    length = axis_correlation_length(coupling) if coupling < 0.44 else NAN
    return {
        "radius": np.where(there, width * (1 + by_layer[:, None]) * noise(), NAN),
        "participation": np.where(there, (1 if p["shuffle"] == "sites" else 1 + width**2) * noise(), NAN),
        "coherence": np.where(there, 0.9, NAN),
        "extent": np.where(there, 1.0, NAN)[..., None] * np.ones(2),
        "tiling": np.full(count, 1.4),
        "dead_units": np.full(count, 0.1),
        "receptive_field": fields[:, :25],
        "hidden_coupling": flow(1.5) * noise(),
        "placed_coupling": flow(1.2) * noise(),
        "hidden_correlation_length": np.full(count, length) * noise(),
        "placed_correlation_length": np.full(count, length) * noise(),
        "reconstruction_error": by_layer * noise(),
        "reconstruction": np.stack([sample * (1 - x) for x in by_layer]) * 0.9,
        "model_energy": np.full(2, kaufman_energy(coupling, size, size)) * (1 - 10 * p["l1"]) * noise(),
        "model_energy_error": np.full(2, 0.01),
        "model_magnetization": np.zeros(2),
        "model_squared_magnetization": np.full(2, 0.3),
        "model_correlation": np.exp(-reach / 3.0) * noise(),
        "log_partition": sites * 0.9 * noise(),
        "log_partition_error": 0.1,
        "effective_chains": 2.0 if coupling > 0.45 else 40.0,
        "test_free_energy": -sites * 0.88,
    }


def stack_knowns(p, layers, rng):
    """What is known of a stack before it runs."""
    size, coupling, count = p["size"], p["coupling"], len(layers)
    flow = lambda power: coupling * 0.8 ** (power * np.arange(1, count + 1))  # noqa: E731
    length = axis_correlation_length(coupling) if coupling < 0.44 else NAN
    energy, by_layer = kaufman_energy(coupling, size, size), 0.1 * np.arange(1, count + 1)
    return {
        "kaufman_energy": energy, "kaufman_log_partition": size**2 * 0.9, "random_radius": size / 6**0.5,
        "data_coupling": coupling, "data_correlation_length": length, "data_energy": energy * 1.001,
        "data_correlation": np.exp(-np.arange(1, size // 2 + 1) / 3.2), "data_start_deviation": 0.5,
        "data_squared_magnetization": 0.3,
        "majority_coupling": flow(1.0), "decimation_coupling": flow(2.0),
        "majority_correlation_length": np.full(count, length),
        "decimation_correlation_length": np.full(count, length) * 0.9,
        "component_radius": np.full(count, 0.95 * size / 6**0.5),
        "component_participation": size**2 * 0.4 + by_layer, "component_error": by_layer * 0.8,
        "sample": np.sign(np.cumsum(rng.standard_normal((4, size**2)), axis=1)),
    }  # fmt: skip


def small_records(steps, rng):
    """A machine whose weights grow with training."""
    shapes = dict(zip(MACHINE, ((9, 4), (9,), (4,)), strict=True))
    growth = np.array(steps) / steps[-1] + 0.02
    return {n: growth.reshape(-1, *([1] * len(s))) * rng.standard_normal(s)[None] for n, s in shapes.items()}


def lattice_records(p, steps, rng):
    """Records of chains around the exact energy, and block-spin moments of independent operators; none at step 0."""
    noise = lambda *shape: rng.standard_normal((len(steps), *shape))  # noqa: E731
    records = {
        "chain_energy": kaufman_energy(p["coupling"], p["size"], p["size"]) + 0.02 * noise(2),
        "chain_energy_square": 0.02 + 0 * noise(2),
        "chain_squared_magnetization": 0.5 + 0.01 * noise(2),
        "chain_fourth_magnetization": 0.4 + 0.01 * noise(2),
    }
    for family, exponent, n in (("even", 1.0, 3), ("odd", 15 / 8, 2)):
        one = np.eye(n)[None, None] * (1 + 0.05 * noise(2, 1, 1))
        scale = np.diag(2.0 ** (exponent - 1) / np.arange(1, n + 1))
        records[f"chain_{family}"] = 0.01 * noise(3, n)
        records[f"chain_{family}_within"] = one
        records[f"chain_{family}_between"] = one @ scale + 0.01 * noise(2, n, n)
    begun = np.where(np.array(steps) > 0, 1.0, NAN)
    return {name: value * begun.reshape(-1, *([1] * (value.ndim - 1))) for name, value in records.items()}


def results(points, layers=(16, 4), dead=()):
    """Results of three runs per point; every record of runs in ``dead`` is NaN."""
    config = config_of(layers)
    order = [(p, seed) for p in points for seed in range(SEEDS)]
    lost = [order[k] for k in dead]

    def rng(run, part):
        return np.random.default_rng([run.seed, part, zlib.crc32(repr(sorted(run.values.items())).encode())])

    def measured(run, experiment):
        made = {
            "stack": lambda: stack_records(run.values, layers, rng(run, 0)),
            "small": lambda: small_records(experiment.schedule, rng(run, 0)),
            "lattice": lambda: lattice_records(run.values, experiment.schedule, rng(run, 0)),
        }[run.values["system"]]()
        gone = NAN if (dict(run.values), run.seed) in lost else 0.0
        return {name: value + gone for name, value in made.items()}

    def before(run, experiment):
        p = run.values
        found = {"steps": float(experiment.schedule[-1])}
        if p["system"] == "stack":
            found |= stack_knowns(p, layers, rng(run, 1))
        if p["system"] == "lattice":
            exact = (p["coupling"], p["size"], p["size"])
            found |= {"kaufman_energy": kaufman_energy(*exact), "kaufman_specific_heat": kaufman_specific_heat(*exact)}
            found["walkers_per_start"] = 8.0
        return found

    died_at = [10 if k in dead else -1 for k in range(len(order))]
    wanted = [Point(p, SEEDS) for p in points]
    dataset = datasets.results(config, wanted, measured, before, died_at, dtype=np.float64)
    return Results(dataset, config)


def made(found):
    return {one.name: one for one in figures(found, judge(CLAIMS, found))}


def of(points, **options):
    return made(results(points, **options))


@pytest.fixture(scope="module")
def everything():
    return results(ALL)


@pytest.fixture(scope="module")
def verdicts(everything):
    return judge(CLAIMS, everything)


@pytest.fixture(scope="module")
def drawn(everything, verdicts):
    return {one.name: one for one in figures(everything, verdicts)}


def rows_of(one, **values):
    return [row for row in one.rows if all(row.get(name) == value for name, value in values.items())]


def find(one, **values):
    """The one row that has these values."""
    found = rows_of(one, **values)
    assert len(found) == 1, (values, len(found))
    return found[0]


def read(results, name, layer=0, **values):
    """The last values of a record of the live stacks with these coordinates."""
    runs = select.at(results.once(select.alike), **values)
    assert len(runs) == 1
    return runs[0].last(name)[:, layer]


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == EVERYTHING
    for one in drawn.values():
        assert one.caption.endswith(".") and "  " not in one.caption and "falsif" not in one.caption
        assert one.alt.endswith(".") and len(one.alt) > 20
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        table = list(csv.DictReader(io.StringIO(one.csv)))
        assert table and not {"nan", "inf"} & {
            word for row in table for value in row.values() for word in value.split()
        }


@pytest.mark.slow  # the sweeps of tests/smoke draw most of them
def test_full_results_are_drawn(drawn):
    for one in drawn.values():
        assert one.canvas.get_size_inches()[0] <= style.WIDTH_INCHES
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")


def test_words_say_what_would_falsify_which_claim(drawn):
    assert {claim for one in drawn.values() for claim in one.falsified_by} == {claim.name for claim in CLAIMS}
    for one in drawn.values():
        assert bool(one.falsified_by) != bool(one.purpose) and one.falsified.endswith(".")
        assert all(text and not text.endswith(".") for text in one.falsified_by.values())


@pytest.mark.parametrize("studies", [["shuffled"], pytest.param(list(STUDIES), marks=pytest.mark.slow)])
def test_equal_results_give_equal_bytes(studies):
    few = [STUDIES[name][-1] for name in studies]
    first, again = ({name: one.svg for name, one in of(few).items()} for _ in range(2))
    assert first and first == again


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ("lattice", ["lattice"]),
        ("strength", STACK),
        ("coupling", STACK),
        ("shuffled", ["fields_controls", "field_sizes"]),
        ("small", ["trace_condition"]),
    ],
)
def test_one_study_alone_draws_its_own_figures(study, expected):
    assert list(of(STUDIES[study])) == expected


def test_no_runs_no_figures(everything):
    assert figures(Results(everything.dataset.isel(run=[]), everything.config), []) == []


def test_without_verdicts_what_they_say_is_not_drawn(everything):
    found = [one.name for one in figures(everything, [])]
    assert "stack_claims" not in found and {"fields", "couplings", "model", "lattice"} <= set(found)


def test_points_shown_are_those_with_most_to_compare_with(everything):
    found = select.real(everything.once(select.alike))
    assert select.commonest(found, "coupling") == 0.408
    assert select.commonest(select.at(found, coupling=0.408), "l1") == 2e-3
    alone = results(STUDIES["coupling"]).once(select.alike)
    assert select.commonest(alone, "coupling") == CRITICAL_COUPLING


def test_other_sizes_are_left_out_of_the_figures_of_stacks():
    data = results([*STUDIES["strength"], *STUDIES["coupling"]])
    data.dataset["size"] = data.dataset["size"].where(data.dataset["coupling"] < 0.5, 12)
    found = data.once(select.alike)
    assert {one.values["size"] for one in found} == {8} and len(found) == 6


def test_strengths_are_short():
    assert [select.strength(x) for x in (*STRENGTHS, 0.0125, 0.1, 2.5e-3)] == [
        "0", "2e-4", "2e-3", "8e-3", "0.0125", "0.1", "2.5e-3",
    ]  # fmt: skip


def test_three_layers_are_three_rows():
    three = of(STUDIES["strength"][:2] + STUDIES["shuffled"][:1], layers=(16, 4, 1))
    layers = ["layer 1 (16 units)", "layer 2 (4 units)", "layer 3 (1 units)"]
    assert [panel.title.partition("\n")[2] for panel in three["fields"].panels[::2]] == layers
    assert [panel.title.partition("\n")[2] for panel in three["fields_controls"].panels] == [layers[0], layers[2]]
    assert [panel.title for panel in three["reconstructions"].panels][3] == "back from layer 3 (1 units)"
    ticks = [tick.get_text() for tick in three["couplings"].canvas.axes[2].get_xticklabels()]
    assert ticks == ["0 (data)", "1", "2", "3"]


def test_many_strengths_are_five_columns():
    one = of([stack(l1=1e-4 * k) for k in range(9)])["fields"]
    titles = [panel.title.partition("\n")[0] for panel in one.panels[:5]]
    assert titles == [f"$L_1$ = {x}" for x in ("0", "2e-4", "4e-4", "6e-4", "8e-4")]
    assert "4 penalties between these are not shown" in one.caption


def test_fields_are_those_of_the_first_run_over_their_own_largest_weight(drawn, everything):
    panel = drawn["fields"].panels[2]
    assert panel.title == "$L_1$ = 2e-3\nlayer 1 (16 units)" and len(panel.crosses) == 1
    (here,) = select.at(everything.once(select.alike), coupling=0.408, l1=2e-3, shuffle="none")
    field = here.last("receptive_field")[0, 0, 5]
    assert panel.drawn[5] == pytest.approx(field / np.abs(field).max())
    radius = np.nanmedian(here.last("radius")[0, 0])
    assert panel.below.startswith(f"radius {radius:.2f},")
    assert rows_of(drawn["fields"], image=5)[2]["values"].split()[0] == f"{panel.drawn[5][0]:.3g}"


def test_sizes_are_the_medians_of_the_dataset(drawn, everything):
    found = select.at(everything.once(select.alike), coupling=0.408, l1=8e-3)
    (here,) = select.at(found, shuffle="none")
    row = rows_of(drawn["field_sizes"], group="layer 2 (4 units)", kind="real data", x="8e-3", panel="radius")[0]
    ratio = np.nanmedian(here.last("radius")[:, 1], axis=1) / here.last("random_radius")
    assert row["mean"] == pytest.approx(ratio.mean()) and row["low"] < row["mean"] < row["high"]
    noise = rows_of(drawn["field_sizes"], group="layer 1 (16 units)", kind="sites shuffled", x="8e-3", panel="sites")[0]
    assert noise["mean"] == pytest.approx(1.0, abs=0.1)
    ticks = [tick.get_text() for tick in drawn["field_sizes"].canvas.axes[0].get_xticklabels()]
    assert ticks == ["0", "2e-4", "2e-3", "8e-3", "PCA"]


def test_couplings_stand_at_the_numbers_of_the_table(drawn, everything):
    one = drawn["couplings"]
    row = {"panel": "nearest-neighbour coupling", "group": "layer 1 (16 units)", "x": 0.5}
    assert find(one, **row, kind="majority rule")["mean"] == pytest.approx(0.5 * 0.8)
    hidden = find(one, **row, kind="hidden units")
    assert hidden["mean"] == pytest.approx(read(everything, "hidden_coupling", coupling=0.5).mean())
    # The synthetic data have no correlation length in the ordered phase.
    assert not rows_of(one, panel="correlation length", x=0.5)
    heights = [y for line in one.canvas.axes[0].lines for y in np.ravel(line.get_ydata())]
    assert hidden["mean"] in heights


def test_a_huge_coupling_does_not_flatten_the_panel():
    data, usual = results(STUDIES["coupling"]), results(STUDIES["coupling"])
    rule = data.dataset["majority_coupling"]
    data.dataset["majority_coupling"] = rule.where(data.dataset["coupling"] < 0.55, 5.0)
    one = made(data)["couplings"]
    assert one.canvas.axes[0].get_ylim()[1] < 2 and "above the panel" in one.caption
    assert any(row["mean"] == 5.0 for row in one.rows)
    assert "above the panel" not in made(usual)["couplings"].caption


def test_missing_annealing_and_lengths_are_left_out():
    data = results(STUDIES["strength"])
    rules = [f"{rule}_correlation_length" for rule in ("hidden", "placed", "data", "majority", "decimation")]
    for name in ("log_partition", "model_correlation", *rules):
        data.dataset[name] = data.dataset[name] * NAN
    found = made(data)
    assert list(found) == STACK
    assert not [row for row in found["model"].rows if row["panel"].startswith("distance") and row["kind"] != "guide"]
    assert all("nan" not in f"{one.caption} {one.alt}".lower() and one.canvas for one in found.values())


def test_few_effective_chains_are_open_marks(drawn):
    doubted = "below 5 effective chains"
    assert [row["x"] for row in rows_of(drawn["model"], kind=doubted)] == [0.5, 0.6]
    labels = [text.get_text() for text in drawn["model"].canvas.legends[0].get_texts()]
    assert doubted in labels
    trusted = of(STUDIES["strength"])["model"].canvas.legends[0]
    assert doubted not in [text.get_text() for text in trusted.get_texts()]


def test_stacks_show_the_numbers_of_their_verdicts(drawn, verdicts):
    rows = drawn["stack_claims"].rows
    judged = [v for v in verdicts if v.claim.startswith(("S3-c", "S3-d", "S3-model"))]
    assert len(rows) == len(judged) == 4 * 8
    for row, verdict in zip(rows, sorted(judged, key=order_of), strict=True):
        shown = (row["mean"], row["low"], row["high"])
        assert row["group"] == verdict.status
        assert [None if np.isnan(x) else x for x in shown] == [verdict.measured, verdict.low, verdict.high]


def order_of(verdict):
    """Claims in their order, and in each the couplings and then the penalties from small to large."""
    name, _, where = verdict.claim.partition(" [")
    strength, coupling = (float(text.partition(" = ")[2].rstrip("]")) for text in where.split(", "))
    return ([claim.name for claim in CLAIMS].index(name), coupling, strength)


def test_every_recorded_machine_is_mapped(drawn, verdicts):
    one, steps = drawn["trace_condition"], 4
    gap, identities = "4 hidden units: gap", "4 hidden units: identities"
    assert len(rows_of(one, panel=gap, kind="in training")) == 4 * SEEDS * steps
    assert {row["group"] for row in rows_of(one, kind="trained")} == {"exact gradient", "CD-1", "CD-10", "PCD"}
    shifted = rows_of(one, panel=gap, kind="energy shifted by a constant")
    entropies = [row["x"] for row in shifted]
    assert all(row["mean"] == 0 for row in shifted) and len(shifted) == 4 * SEEDS
    shown = known(verdicts, "S3-b")
    assert (min(entropies), max(entropies)) == (shown.low, shown.high)
    assert np.mean(entropies) == pytest.approx(shown.mean, rel=1e-12)
    worst = max(row["mean"] for row in rows_of(one, panel=identities) if row["kind"] != "guide")
    assert np.log10(worst) == known(verdicts, "S3-a").mean


def test_lattice_shows_the_numbers_of_its_verdicts(drawn, verdicts):
    one = drawn["lattice"]
    for size in (16, 32):
        row, shown = (
            find(one, name=f"$L$ = {size}, $K$ = 0.408"),
            known(verdicts, "S3-lattice", f"L = {size}, K = 0.408"),
        )
        assert (row["mean"], row["low"], row["high"]) == shown[:3]
    y_t = find(one, panel="$y_t$, even operators", group="step 2 of blocking", x=3)
    assert abs(y_t["mean"] - 1) == known(verdicts, "S3-yardstick", "L = 32").mean
    y_h = find(one, panel="$y_h$, odd operators", group="step 1 of blocking", x=2)
    assert y_h["mean"] == pytest.approx(1.875, abs=0.05)


def test_a_wrong_sampler_is_shown_as_contradicted():
    data = results(STUDIES["lattice"])
    data.dataset["chain_energy"] = data.dataset["chain_energy"] + 1.0
    rows = [row for row in made(data)["lattice"].rows if "name" in row]
    assert len(rows) == 4 and {row["group"] for row in rows} <= {"contradicted", "undecided"}
    assert all(row["low"] < -0.5 for row in rows)


def test_dead_runs_are_left_out_and_counted(drawn):
    found = of(ALL, dead=FIRST)
    assert list(found) == list(drawn)
    # The first of the couplings is not the reference; the point of the reconstructions lost no run.
    expected = dict.fromkeys(EVERYTHING, 1) | {"field_sizes": 2, "couplings": 2, "model": 2}
    for name in ("reconstructions", "stack_claims"):
        expected.pop(name)
    for name, lost in expected.items():
        assert f"Dead runs left out: {lost}." in found[name].caption, name
    assert all("nan" not in f"{one.caption} {one.alt}".lower() for one in found.values())
    assert len(rows_of(found["trace_condition"], kind="energy shifted by a constant")) == 4 * SEEDS - 1


def test_a_point_without_live_runs_is_not_drawn():
    found = of(STUDIES["strength"], dead=range(SEEDS))
    assert list(found) == STACK
    assert all(row["group"] != "$L_1$ = 0" for row in found["model"].rows)
    assert all("$L_1$ = 0\n" not in panel.title for panel in found["fields"].panels)
    assert of(ALL, dead=range(SEEDS * len(ALL))) == {}
