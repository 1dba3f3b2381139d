"""Figures of the variational-rg room, from results made by hand in the room's schema."""

import csv
import io
import json
import xml.etree.ElementTree

import datasets
import numpy as np
import pytest
from figure_words import checked_words, every_claim_of
from rgflow.report.variational_rg_couplings import couplings
from rgflow.report.variational_rg_fields import by_strength
from rgflow.report.variational_rg_figures import figures as room_figures
from rgflow.report.variational_rg_model import model
from rgflow.report.variational_rg_points import reference_cell, stacks_of, strength_colours, strength_text

from rgflow.engine import grid
from rgflow.exact.ising import CRITICAL_COUPLING, axis_correlation_length, kaufman_energy, kaufman_specific_heat
from rgflow.protocol import Point
from rgflow.report import figures, tables
from rgflow.variational_rg.lattice import COORDS
from rgflow.variational_rg.small import DIMS as SMALL_DIMS

NAN = float("nan")
SEEDS, SMALL, HIDDEN = 3, 3, 3
STEPS = tuple(range(0, 41, 2))
LATTICE_STEPS, SMALL_STEPS, STACK_STEPS = STEPS[:18], (0, 10, 40), (0, 20, 40)
STRENGTHS, COUPLINGS = (0.0, 2e-4, 2e-3, 8e-3), (0.3, 0.408, CRITICAL_COUPLING, 0.5, 0.6)
SHARED = {"algorithm": "cd", "sweeps": 1, "l1": 2e-4, "shuffle": "none", "small.hidden": HIDDEN, "coupling": 0.408}
STACK = ["fields", "field_sizes", "reconstructions", "couplings", "model"]
EVERYTHING = ["fields", "fields_controls", *STACK[1:], "trace_condition", "lattice"]


def stack(**values):
    return {**SHARED, "system": "stack", "size": 8, **values}


STUDIES = {
    "lattice": [{**SHARED, "system": "lattice", "size": n, "coupling": k} for n in (8, 16) for k in COUPLINGS[1:3]],
    "strength": [stack(l1=x) for x in STRENGTHS],
    "coupling": [stack(l1=2e-3, coupling=k) for k in COUPLINGS if k != 0.408],
    "shuffled": [stack(l1=x, shuffle=s) for s in ("sites", "bonds") for x in STRENGTHS[2:]],
    "small": [
        {**SHARED, "system": "small", "size": SMALL, "algorithm": a, "sweeps": k, "l1": 0.0}
        for a, k in (("exact", 1), ("cd", 1), ("cd", 10), ("pcd", 1))
    ],
}


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
    """Records of one stack at its end, and what is known of it."""
    size, coupling = p["size"], p["coupling"]
    width = 0.4 * size / (1 + 400 * p["l1"])
    sites, reach = size**2, np.arange(1, size // 2 + 1)
    by_layer = 0.1 * np.arange(1, len(layers) + 1)
    fields = bumps(size, layers, width, p["shuffle"], rng)
    known = np.isfinite(fields[..., 0]) & (np.abs(fields).max(-1) > 0)
    sample = np.sign(np.cumsum(rng.standard_normal((4, sites)), axis=1))
    noise = lambda: 1 + 0.02 * rng.standard_normal()  # noqa: E731
    energy = kaufman_energy(coupling, size, size)
    flow = lambda power: coupling * 0.8 ** (power * np.arange(1, len(layers) + 1))  # noqa: E731
    length = axis_correlation_length(coupling) if coupling < 0.44 else NAN
    records = {
        "radius": np.where(known, width * (1 + by_layer[:, None]) * noise(), NAN),
        "participation": np.where(known, (1 if p["shuffle"] == "sites" else 1 + width**2) * noise(), NAN),
        "receptive_field": fields[:, :25],
        "hidden_coupling": flow(1.5) * noise(),
        "placed_coupling": flow(1.2) * noise(),
        "hidden_correlation_length": length * np.ones(len(layers)) * noise(),
        "placed_correlation_length": length * np.ones(len(layers)) * noise(),
        "reconstruction_error": by_layer * noise(),
        "reconstruction": np.stack([sample * (1 - x) for x in by_layer]) * 0.9,
        "model_energy": np.array([energy, energy]) * (1 - 10 * p["l1"]) * noise(),
        "model_correlation": np.exp(-reach / 3.0) * noise(),
        "log_partition": sites * 0.9 * noise(),
        "effective_chains": 2.0 if coupling > 0.45 else 40.0,
        "test_free_energy": -sites * 0.88,
    }
    references = {
        "kaufman_energy": energy, "kaufman_log_partition": sites * 0.9, "random_radius": size / 6**0.5,
        "data_coupling": coupling, "data_correlation_length": length, "data_correlation": np.exp(-reach / 3.2),
        "majority_coupling": flow(1.0), "decimation_coupling": flow(2.0), "data_energy": energy * 1.001,
        "majority_correlation_length": length * np.ones(len(layers)),
        "decimation_correlation_length": length * np.ones(len(layers)) * 0.9,
        "component_radius": 0.95 * size / 6**0.5 * np.ones(len(layers)),
        "component_participation": sites * 0.4 + by_layer,
        "component_error": by_layer * 0.8, "sample": sample,
    }  # fmt: skip
    return {n: by_step(v, STACK_STEPS) for n, v in records.items()}, references


def by_step(value, steps):
    """The same record at some of all steps, NaN at the others."""
    value = np.asarray(value, np.float64)
    blank = np.where(np.isin(STEPS, steps), 1.0, NAN)
    return blank.reshape(-1, *([1] * value.ndim)) * value[None]


def small_records(p, rng):
    """A machine whose weights grow with training."""
    sizes = {"visible": SMALL**2, "hidden": HIDDEN}
    shapes = {name: tuple(sizes[dim] for dim in dims) for name, dims in SMALL_DIMS.items()}
    growth = np.where(np.isin(STEPS, SMALL_STEPS), np.array(STEPS) / 40 + 0.02, NAN)
    return {n: growth.reshape(-1, *([1] * len(s))) * rng.standard_normal(s)[None] for n, s in shapes.items()}, {}


def lattice_records(p, rng):
    """Records of chains around the exact energy, and block-spin moments of independent operators."""
    size, levels = p["size"], 1 if p["size"] == 8 else 2
    exact = kaufman_energy(p["coupling"], size, size)
    count, width = len(STEPS), 0.02
    noise = lambda *shape: rng.standard_normal((count, *shape))  # noqa: E731
    records = {"chain_energy": exact + width * noise(2), "chain_energy_square": width**2 * 50 + 0 * noise(2)}
    records["chain_squared_magnetization"] = 0.5 + 0.01 * noise(2)
    records["chain_fourth_magnetization"] = 0.4 + 0.01 * noise(2)
    for family, exponent in (("even", 1.0), ("odd", 15 / 8)):
        n = len(COORDS[family])
        pad = np.where(np.arange(2) < levels, 1.0, NAN)
        records[f"chain_{family}"] = 0.01 * noise(3, n) * np.array([1.0, *pad])[None, :, None]
        one = np.eye(n)[None, None] * (1 + 0.05 * noise(2, 1, 1)) * pad[None, :, None, None]
        records[f"chain_{family}_within"] = one
        scale = np.diag(2.0 ** (exponent - 1) / np.arange(1, n + 1))
        records[f"chain_{family}_between"] = one @ scale + 0.01 * noise(2, n, n)
    kept = np.where(np.isin(STEPS, LATTICE_STEPS[1:]), 1.0, NAN)
    records = {n: v * kept.reshape(-1, *([1] * (v.ndim - 1))) for n, v in records.items()}
    heat = kaufman_specific_heat(p["coupling"], size, size)
    return records, {"kaufman_energy": exact, "kaufman_specific_heat": heat, "walkers_per_start": 8.0}


ENDS = {"stack": STACK_STEPS[-1], "small": SMALL_STEPS[-1], "lattice": LATTICE_STEPS[-1]}


def results(points, layers=(16, 4), dead=()):
    """Results of three runs per point; what a system lacks is NaN, and so is every record of runs in ``dead``."""
    rng = np.random.default_rng(0)
    makers = {"stack": lambda p, r: stack_records(p, layers, r), "small": small_records, "lattice": lattice_records}
    wanted = [Point(p, SEEDS) for p in points]
    made = [makers[run.values["system"]](run.values, rng) for run in grid.expand(wanted)]
    for k in dead:
        made[k] = ({n: np.full_like(v, NAN) for n, v in made[k][0].items()}, made[k][1])
    place = {run.identity: k for k, run in enumerate(grid.expand(wanted))}
    return datasets.results(
        datasets.config_of("variational_rg", stack__layers=tuple(layers)), wanted,
        measured=lambda run, _: made[place[run.identity]][0],
        known=lambda run, _: {**made[place[run.identity]][1], "steps": float(ENDS[run.values["system"]])},
        died_at=[10 if k in dead else -1 for k in range(len(made))], schedule=STEPS,
        attributes={"config": json.dumps({"units": "binary", "stack": {"layers": list(layers)}})},
    )  # fmt: skip


ALL = [p for members in STUDIES.values() for p in members]


@pytest.fixture(scope="module")
def dataset():
    return results(ALL)


@pytest.fixture(scope="module")
def drawn(dataset):
    return {one.name: one for one in figures.draw("variational_rg", dataset)}


def made(points, **options):
    with figures.style():
        return {one.name: one for one in room_figures(results(points, **options))}


def find(rows, **values):
    """The one row that has these values."""
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, len(found))
    return found[0]


def texts(one):
    """Every text of a figure's panels."""
    return [t.get_text() for axes in one.figure.axes for t in (axes.title, axes.xaxis.label, axes.yaxis.label)]


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == EVERYTHING
    for one in drawn.values():
        assert one.figure.get_size_inches()[0] <= figures.WIDTH_INCHES
        assert one.caption.endswith(".") and one.alt.endswith(".")
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        assert xml.etree.ElementTree.fromstring(one.svg).tag.endswith("svg")
        read = list(csv.DictReader(io.StringIO(tables.csv_text(one.rows))))
        assert read and not {"nan", "inf"} & {value for row in read for value in row.values()}


def test_words_say_what_would_falsify_which_claim(drawn):
    assert checked_words("variational_rg", drawn.values()) == every_claim_of("variational_rg")


@pytest.mark.parametrize("studies", [["shuffled"], pytest.param(list(STUDIES), marks=pytest.mark.slow)])
def test_equal_results_give_equal_bytes(studies):
    few = results([STUDIES[name][-1] for name in studies])
    first, again = ({one.name: one.svg for one in figures.draw("variational_rg", few)} for _ in range(2))
    assert first and first == again


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ("lattice", ["lattice"]),
        ("strength", STACK),
        pytest.param("coupling", STACK, marks=pytest.mark.slow),
        ("shuffled", ["fields_controls", "field_sizes"]),
        ("small", ["trace_condition"]),
    ],
)
def test_one_study_alone_draws_its_own_figures(study, expected):
    assert list(made(STUDIES[study])) == expected


def test_no_runs_no_figures(dataset):
    assert room_figures(dataset.isel(run=[])) == []


def test_points_shown_are_those_with_most_to_compare_with(dataset):
    values = reference_cell(stacks_of(dataset).real).values
    assert (values["coupling"], values["l1"]) == (0.408, 2e-3)
    alone = reference_cell(stacks_of(results(STUDIES["coupling"])).real).values
    assert alone["coupling"] == CRITICAL_COUPLING
    shades = strength_colours(stacks_of(dataset).real)
    assert list(shades) == list(STRENGTHS) and len(set(shades.values())) == 4


def test_other_sizes_are_left_out_of_the_figures_of_stacks():
    data = results([*STUDIES["strength"], *STUDIES["coupling"]])
    data["size"] = data["size"].where(data["coupling"] < 0.5, 12)
    found = stacks_of(data)
    assert {cell.values["size"] for cell in found.cells} == {8} and len(found.cells) == 6


def test_strengths_are_short():
    assert [strength_text(x) for x in (*STRENGTHS, 0.0125, 0.1, 2.5e-3)] == [
        "0", "2e-4", "2e-3", "8e-3", "0.0125", "0.1", "2.5e-3",
    ]  # fmt: skip


def test_three_layers_are_three_rows():
    points = STUDIES["strength"][:2] + STUDIES["shuffled"][:1]
    three = made(points, layers=(16, 4, 1))
    labels = [text for text in texts(three["fields"]) if text.startswith("layer")]
    assert labels == ["layer 1\n(16 units)", "layer 2\n(4 units)", "layer 3\n(1 units)"]
    ends = [text for text in texts(three["fields_controls"]) if text.startswith("layer")]
    assert ends == [labels[0], labels[2]]
    assert [t for t in texts(three["reconstructions"]) if t.startswith("from")][2].startswith("from layer 3 (1 units)")
    ticks = [t.get_text() for t in three["couplings"].figure.axes[2].get_xticklabels()]
    assert ticks == ["0 (data)", "1", "2", "3"]


def test_many_strengths_are_five_columns():
    with figures.style():
        (one,) = by_strength(stacks_of(results([stack(l1=1e-4 * k) for k in range(9)])))
    titles = [text for text in texts(one) if text.startswith("$L_1$")]
    assert titles == [f"$L_1$ = {x}" for x in ("0", "2e-4", "4e-4", "6e-4", "8e-4")]
    assert "4 penalties between these are not shown" in one.caption


def test_fields_are_over_their_own_largest_weight_and_dead_units_are_crosses(drawn, dataset):
    panel = drawn["fields"].figure.axes[2]
    picture = np.ma.filled(panel.images[0].get_array(), NAN)
    assert panel.get_title() == "$L_1$ = 2e-3"
    runs = dataset.isel(run=((dataset["l1"] == 2e-3) & (dataset["shuffle"] == "none")).values)
    runs = runs.isel(run=((runs["coupling"] == 0.408) & (runs["system"] == "stack")).values)
    field = runs["receptive_field"].isel(run=0, layer=0, shown=5).values.reshape(8, 8)
    assert picture[9:17, 9:17] == pytest.approx(field / np.abs(field).max())
    assert np.isnan(picture[:8, 9:17]).all() and np.isnan(picture[8]).all()
    assert [list(line.get_xydata()[0]) for line in panel.lines] == [[12.5, 3.5]]
    radius = float(runs["radius"].isel(run=0, layer=0).sel(step=40).median())
    assert panel.get_xlabel().startswith(f"radius {radius:.2f},")


def test_sizes_are_the_medians_of_the_dataset(drawn, dataset):
    row = find(drawn["field_sizes"].rows, l1=8e-3, shuffle="none", layer=2)
    where = (dataset["system"] == "stack") & (dataset["l1"] == 8e-3) & (dataset["shuffle"] == "none")
    runs = dataset.isel(run=where.values).sel(step=40).isel(layer=1)
    ratio = runs["radius"].median("unit") / runs["random_radius"]
    assert row["radius"] == pytest.approx(float(ratio.mean()))
    assert row["radius_low"] <= row["radius"] <= row["radius_high"]
    noise = find(drawn["field_sizes"].rows, l1=8e-3, shuffle="sites", layer=1)
    assert noise["participation"] == pytest.approx(1.0, abs=0.1)


def test_couplings_stand_at_the_numbers_of_the_table(drawn):
    one = drawn["couplings"]
    row = find(one.rows, coupling=0.5, l1=2e-3, layer=1)
    assert row["majority_coupling"] == pytest.approx(0.5 * 0.8)
    assert row["hidden_coupling"] == pytest.approx(0.5 * 0.8**1.5, rel=0.1)
    # The synthetic data have no correlation length in the ordered phase.
    assert row["hidden_correlation_length"] == "" and row["data_correlation_length"] == ""
    heights = [y for line in one.figure.axes[0].lines for y in np.ravel(line.get_ydata())]
    assert row["hidden_coupling"] in heights
    for line in one.figure.axes[1].lines:
        assert np.isfinite(line.get_ydata()).all()


def test_a_huge_coupling_does_not_flatten_the_panel():
    data = results(STUDIES["coupling"])
    data["majority_coupling"] = data["majority_coupling"].where(data["coupling"] < 0.55, 5.0)
    with figures.style():
        (one,), (usual,) = couplings(stacks_of(data)), couplings(stacks_of(results(STUDIES["coupling"])))
    assert one.figure.axes[0].get_ylim()[1] < 2
    assert "above the panels" in one.caption
    assert "above the panels" not in usual.caption


def test_missing_annealing_and_lengths_are_left_out():
    data = results(STUDIES["strength"])
    for name in ("log_partition", "hidden_correlation_length", "data_correlation_length", "model_correlation"):
        data[name] = data[name] * NAN
    for rule in ("majority", "decimation"):
        data[f"{rule}_correlation_length"] = data[f"{rule}_correlation_length"] * NAN
    with figures.style():
        found = {one.name: one for one in room_figures(data)}
    assert list(found) == STACK
    assert all(row["relative_entropy"] == "" for row in found["model"].rows)
    assert all("nan" not in f"{one.caption} {one.alt}".lower() for one in found.values())


def test_few_effective_chains_are_open_marks(drawn):
    labels = [text.get_text() for text in drawn["model"].figure.legends[0].get_texts()]
    assert labels[-1] == "below 5 effective chains"
    open_marks = [line.get_xdata()[0] for line in drawn["model"].figure.axes[1].lines
                  if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]  # fmt: skip
    assert sorted(open_marks) == [0.5, 0.6]
    with figures.style():
        (trusted,) = model(stacks_of(results(STUDIES["strength"])))
    assert "effective" not in trusted.figure.legends[0].get_texts()[-1].get_text()


def test_every_recorded_machine_is_mapped(drawn):
    rows = drawn["trace_condition"].rows
    assert len(rows) == 4 * SEEDS * len(SMALL_STEPS)
    assert {row["algorithm"] for row in rows} == {"exact gradient", "CD-1", "CD-10", "PCD"}
    gap = drawn["trace_condition"].figure.axes[1]
    shifted = [line for line in gap.lines if line.get_markerfacecolor() == "none"]
    ends = [row["relative_entropy"] for row in rows if row["step"] == 40]
    assert sorted(float(line.get_xdata()[0]) for line in shifted) == pytest.approx(sorted(ends))
    assert all(line.get_ydata()[0] == 0 for line in shifted)


def test_lattice_shows_standard_errors_and_exponents(drawn):
    rows = drawn["lattice"].rows
    for size in (8, 16):
        row = find(rows, what="energy", size=size, coupling=0.408)
        assert row["exact"] == pytest.approx(kaufman_energy(0.408, size, size))
        assert row["low"] < row["value"] < row["high"]
    assert find(rows, what="y_t, step 2, 3 operators")["value"] == pytest.approx(1.0, abs=0.05)
    assert find(rows, what="y_h, step 1, 2 operators")["value"] == pytest.approx(1.875, abs=0.05)


def test_a_wrong_sampler_is_an_arrow_at_the_edge():
    data = results(STUDIES["lattice"])
    data["chain_energy"] = data["chain_energy"] + 1.0
    with figures.style():
        (one,) = room_figures(data)
    far = [text.get_text() for text in one.figure.axes[0].texts]
    assert len(far) == 4 and all(int(text) > 8 for text in far)


FIRST = [SEEDS * ALL.index(members[0]) for members in STUDIES.values()]
"""The first run of the first point of every study."""


def test_dead_runs_are_left_out_and_counted(drawn):
    found = made(ALL, dead=FIRST)
    assert list(found) == list(drawn)
    # The first of the couplings is not the reference; the point of the reconstructions lost no run.
    expected = dict.fromkeys(EVERYTHING, 1) | {"field_sizes": 2, "couplings": 2, "model": 2, "reconstructions": 0}
    for name, one in found.items():
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        lost = 0 if "Dead" not in one.caption else int(one.caption.partition("left out: ")[2].partition(".")[0])
        assert lost == expected[name], name
    assert len(found["trace_condition"].rows) == (4 * SEEDS - 1) * len(SMALL_STEPS)


def test_a_point_without_live_runs_is_not_drawn():
    found = made(STUDIES["strength"], dead=range(SEEDS))
    assert list(found) == STACK
    assert all(row["l1"] > 0 for row in found["model"].rows)
    assert "$L_1$ = 0" not in texts(found["fields"])
    assert made(ALL, dead=range(SEEDS * len(ALL))) == {}
