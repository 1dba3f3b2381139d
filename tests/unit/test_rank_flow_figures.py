"""Figures of the rank-flow room: words, numbers, dead and unfinished runs, on results made by hand."""

import csv
import io
import xml.etree.ElementTree

import datasets
import numpy as np
import pytest
from figure_words import checked_words, every_claim_of

from rgflow.engine import grid
from rgflow.judging.claim import judge
from rgflow.judging.intervals import t_interval
from rgflow.judging.points import where
from rgflow.plots import style
from rgflow.protocol import Point, Results
from rgflow.rank_flow import figures, figures_readings, probe
from rgflow.rank_flow.claims import CLAIMS
from rgflow.rank_flow.readings import DRIFT_MEASURES

NAN = float("nan")
LAYERS, MODES, SEEDS = 4, 5, 3
CLAIM, PHASE = {"steps": 100, "learning_rate": 1e-3}, {"steps": 10, "learning_rate": 3e-3}
STEPS = (0, 1, 10, 100)
SIZES = {"depth": 3, "width": 32, "window": 4, "cooldown": 0.0}
CENTRE = {"depth": 2, "width": 8, "window": 1, "cooldown": 0.3}
CONFIG = {
    **SIZES,
    "chain": {"kind": "dirichlet_lazy", "groups": 4},
    "norm": "pre",
    "runs": dict.fromkeys(("window", "tokenwise", "flat", "attention"), CLAIM),
    "phases": {**CENTRE, **PHASE},
}
MADE = datasets.config_of("rank_flow", "default", num_states=MODES + 1)
SHORT, LONG = 1.0, 7.0
UNTRAINED_RATIO = 0.9
GROWTH = 0.7
"""Of the stream's logarithm per layer: what the perturbations are relative to."""

SPREAD = np.exp([-0.02, 0.0, 0.02])
"""Factors of the final R of the three seeds; the mean of their logarithms is 0."""


def point(mixing="window", length=SHORT, ratio=0.5, loss=1.01, **values):
    """One point of a sweep: its coordinates, its final R, its final loss."""
    base = {"control": "none", "chain.kind": "dirichlet_lazy", "chain.groups": 0, **SIZES, **CLAIM}
    window = {} if mixing == "window" else {"window": 0}
    return {"mixing": mixing, "correlation_length": length, "ratio": ratio, "loss": loss, **base, **window, **values}


def phase(length, ratio, loss=1.01, **size):
    return point(length=length, ratio=ratio, loss=loss, **{**CENTRE, **PHASE, **size})


def spectrum(width, depth):
    """Singular values [layer, direction] that fall as powers, faster at deeper layers."""
    return np.arange(1.0, width + 1) ** -np.linspace(0.5, 2.0, depth + 1)[:, None]


def records_of(p, seed, died):
    """Records of one run and what is known of it; a run that ``died`` has no record after the untrained one."""
    depth, last = p["depth"], STEPS.index(p["steps"])
    layer, step = np.arange(depth + 1), np.arange(last + 1)[:, None] / last
    slow = np.exp(-1 / p["correlation_length"])
    moduli = slow ** np.arange(1, MODES + 1)
    if p["chain.kind"] == "block":
        moduli = np.where(np.arange(MODES) < p["chain.groups"] - 1, slow, 1e-17)
    final = 1.0 if p["control"] == "untrained" else p["ratio"] / UNTRAINED_RATIO * SPREAD[seed]
    rank = 20 * (UNTRAINED_RATIO * final**step) ** (layer / depth)
    loss = 2.9 + (p["loss"] - 2.9) * step[:, 0]
    nothing, unknown = p["control"] in ("iid", "random_labels"), p["control"] == "time_shuffled"
    bayes = 2.7 if nothing else NAN if unknown else 1.0
    pushed = -0.1 * np.arange(1, MODES + 1)[:, None] * step[..., None] * layer * SPREAD[seed]
    flat = p["mixing"] == "flat"
    ranks = rank[:, None, None] * np.ones((len(probe.LEVELS), len(probe.CENTRINGS), 1))
    if flat:
        ranks[:, :3] = NAN
    if p["mixing"] == "tokenwise":
        ranks[:, 1, 1] = NAN
    measured = {
        **{name: ranks / k for k, name in enumerate(probe.RANKS, 1)},
        **dict.fromkeys(DRIFT_MEASURES, 0.4 * np.exp(-2.0 * np.arange(depth)) * ranks[..., 1:] / 20),
        "singular_values": spectrum(p["width"], depth) * np.ones((len(step), len(probe.CENTRINGS), 1, 1)),
        "predictor_effective_rank": np.full((len(step), 2), 2.5),
        "mode_r2": 0.9 * step[..., None] * moduli ** (layer[:, None] / 3) * SPREAD[seed] * (NAN if flat else 1),
        "bayes_r2": (0.5 + 0.4 * step + 0 * layer) * (NAN if flat else 1),
        "perturbation": pushed + GROWTH * layer,
        "stream_growth": GROWTH * layer + 0 * step,
        "loss": loss,
        "excess_loss": loss - bayes,
    }
    end = 1 if died else len(step)
    for name, values in measured.items():
        after = np.full((len(STEPS) - end, *values.shape[1:]), NAN)
        measured[name] = np.concatenate([values[:end], after])
    return measured, {
        "mode_modulus": moduli,
        "blind_loss": 2.7,
        "bayes_loss": bayes,
        "architecture_loss": bayes,
        "chain_seed": 1 + seed,
    }


def results(points, dead=()):
    """Results of three seeds per point; ``dead`` runs have no record after the untrained one."""
    if not points:
        return results(CLAIMS_RUN).isel(run=[])
    made, wanted = {}, []
    for p in points:
        values = {name: value for name, value in p.items() if name not in ("ratio", "loss")}
        wanted.append(Point(values, SEEDS))
        for run in grid.expand(wanted[-1:]):
            made[run.identity] = records_of(p, run.seed, died=len(made) in dead)
    died_at = [1 if k in dead else -1 for k in range(len(made))]
    return datasets.results(
        MADE,
        wanted,
        lambda run, _: made[run.identity][0],
        lambda run, _: made[run.identity][1],
        died_at,
        STEPS,
        dtype=np.float64,
    )


PHASES = [
    phase(x, r, depth=d) for d, by_length in {2: (0.3, 0.95), 3: (0.6, 0.61)}.items()
    for x, r in zip((SHORT, LONG), by_length, strict=True)
] + [phase(SHORT, 0.5, width=16), phase(LONG, 0.8, loss=2.4, width=16)]  # fmt: skip
CLAIMS_RUN = [point(m, x, r) for m in ("window", "tokenwise") for x, r in ((SHORT, 0.4), (LONG, 0.8))]
CONTROLS = [
    point(ratio=0.7, control="iid"),
    point(ratio=0.7, control="untrained"),
    point(ratio=0.7, control="time_shuffled"),
    point(length=LONG, ratio=0.7, control="untrained"),
    point(ratio=0.6, **{"chain.kind": "lazy_zipf"}),
]
SETTINGS = [point("window", x, r, norm="post") for x, r in ((SHORT, 0.3), (LONG, 0.35))] + [
    point("window", SHORT, 0.5, **{"chain.kind": "circulant"})
]
BLOCKS = [
    point(m, x, 0.2, **{"chain.kind": "block", "chain.groups": g})
    for m, x, g in [
        *((("window", x, g)) for x in (SHORT, LONG) for g in (2, 3)),
        ("tokenwise", LONG, 2),
        ("flat", LONG, 2),
    ]
]


ATTENTION = [point(m, x) for m in ("window", "attention") for x in (SHORT, LONG)]
CLAIM_FIGURES = [
    "effective_rank_depth", "rank_training", "kernel_drift", "loss", "effective_rank_levels", "readings_s1_i",
    "readings_s1_iii", "readings_s1_ii", "rank_learned", "singular_values", "mode_flow", "mode_relevance",
    "perturbation_decay",
]  # fmt: skip


def draw(points, dead=(), verdicts=(), until=None):
    """The figures by name."""
    found = results(points, dead)
    found = found if until is None else found.sel(step=list(until))
    return {one.name: one for one in figures.figures(Results(found, CONFIG), verdicts)}


@pytest.fixture(scope="module")
def drawn():
    return draw([*CLAIMS_RUN, *CONTROLS, *SETTINGS, *BLOCKS, *PHASES])


def rows(one, **wanted):
    """The rows of the table of a figure with some entries."""
    found = list(csv.DictReader(io.StringIO(one.csv)))
    return [row for row in found if all(row[name] == str(value) for name, value in wanted.items())]


def row(one, **wanted):
    (found,) = rows(one, **wanted)
    return found


def number(text):
    return float(text or NAN)


def interval(found):
    return [number(found[name]) for name in ("mean", "low", "high")]


def texts(one):
    """Everything written inside the panels of a figure."""
    return [text.get_text() for axes in one.canvas.axes for text in axes.texts]


def test_full_results_give_every_figure(drawn):
    controls = ["controls", "settings", "blocks"]
    assert list(drawn) == [*CLAIM_FIGURES, *controls, "phase_depth", "phase_width", "phase_step"]
    assert not any("nan" in one.csv for one in drawn.values())


@pytest.mark.slow  # the sweeps of tests/smoke draw most of them
def test_full_results_are_drawn(drawn):
    for one in drawn.values():
        assert one.canvas.get_size_inches()[0] <= style.WIDTH_INCHES
        svg = one.svg
        assert xml.etree.ElementTree.fromstring(svg).tag.endswith("svg")
        assert b"<image" not in svg


def test_words_say_what_would_falsify_which_claim(drawn):
    with_attention = draw(ATTENTION)
    assert checked_words("rank_flow", [*drawn.values(), *with_attention.values()]) == every_claim_of("rank_flow")
    assert {name for name, one in with_attention.items() if any("S1b" in claim for claim in one.falsified_by)} == {
        "effective_rank_depth", "loss", "mode_flow",
    }  # fmt: skip


def test_studies_that_were_not_run_have_no_figure():
    assert list(draw(CLAIMS_RUN)) == CLAIM_FIGURES
    assert draw([]) == {}
    assert list(draw(PHASES)) == ["phase_depth", "phase_width", "phase_step"]
    assert draw([p for p in PHASES if p["correlation_length"] == SHORT]) == {}


def test_ranks_against_depth_are_means_over_runs_with_students_interval(drawn):
    found = row(drawn["effective_rank_depth"], panel="mixing: window", group="length 7 tokens", kind="trained", x=3)
    assert interval(found) == pytest.approx(t_interval(20 * 0.8 * SPREAD)[:3], rel=1e-6)
    assert len(found["each run"].split()) == SEEDS
    ends = rows(drawn["rank_training"], panel="mixing: window", group="length 1 tokens", kind="stream")
    assert [number(ends[k]["mean"]) for k in (0, -1)] == pytest.approx([UNTRAINED_RATIO, 0.4 * SPREAD.mean()])


def test_the_exact_predictor_is_drawn_into_every_figure_of_ranks(drawn):
    for name, value in (("effective_rank_depth", 2.5), ("effective_rank_levels", 2.5), ("rank_training", 2.5 / 20)):
        found = [number(found["mean"]) for found in rows(drawn[name], kind=figures.EXACT)]
        assert set(found) == {value}, name
    undefined = [p for p in drawn["effective_rank_levels"].panels if not any(s.found for s in p.series)]
    assert [p.title.replace("\n", " ") for p in undefined] == ["tokenwise, scored, centred"]
    assert undefined[0].empty == "undefined"


def test_the_loss_is_an_excess_on_a_logarithmic_axis(drawn):
    one = drawn["loss"]
    assert {axes.get_yscale() for axes in one.canvas.axes} == {"log"}
    found = rows(one, panel="mixing: window", group="length 1 tokens", kind="network")
    assert [number(f["mean"]) for f in found] == pytest.approx([1.9, 1.9 - 1.89 / 3, 1.9 - 1.89 * 2 / 3, 0.01])
    assert [number(f["mean"]) for f in rows(one, kind="optimum without sight of other tokens")] == pytest.approx(
        [1.7] * 8
    )
    assert one.purpose and not one.falsified_by
    unknown = results(ATTENTION)
    unknown["architecture_loss"][unknown["mixing"] == "attention"] = NAN
    attention = figures.loss(figures.live_cells(unknown), "")
    assert [panel.title for panel in attention.panels] == ["mixing: window", "mixing: attention (whole sequence)"]
    assert number(rows(attention, kind="network", panel=attention.panels[1].title)[0]["mean"]) == pytest.approx(1.9)


def test_numbers_on_claims_are_those_of_the_verdicts():
    made = results(CLAIMS_RUN)
    # Before training slow modes are damped more, so that there is an order to gain.
    made["perturbation"][:, 0] += 0.01 * made["mode"] * made["layer"]
    found = Results(made, CONFIG)
    verdicts = judge([claim for claim in CLAIMS if claim.name in ("S1-iii", "S1-modes")], found)
    numbered = {v.claim: v for v in verdicts}
    shown = figures.figures(found, verdicts)
    titles = {one.name: [panel.title for panel in one.panels] for one in shown}
    for name, claim in (("kernel_drift", "S1-iii"), ("mode_flow", "S1-modes")):
        one = numbered[f"{claim} [window, length 1]"]
        said = figures.number_text(one.measured, one.low, one.high)
        assert any(t.startswith("window, length 1\n") and t.endswith(f": {said}") for t in titles[name]), name


def test_flow_of_modes_holds_every_mode_and_the_line_of_coarse_graining(drawn):
    one = drawn["mode_flow"]
    line = rows(one, panel="window, length 1", kind=one.called["theory"])
    assert [number(f["x"]) for f in line] == pytest.approx(np.exp(-np.arange(MODES, 0, -1) / SHORT))
    assert [number(f["mean"]) for f in line] == pytest.approx([5.0, 4.0, 3.0, 2.0, 1.0])
    fastest = rows(one, panel="window, length 1", kind="measured, trained")[0]
    assert interval(fastest) == pytest.approx(t_interval(0.5 * 3 * SPREAD)[:3])
    untrained = [number(f["mean"]) for f in rows(one, panel="window, length 1", kind="measured, untrained")]
    assert untrained == pytest.approx([0.0] * MODES, abs=1e-12)


def test_perturbations_follow_the_slowest_and_the_fastest_mode(drawn):
    for group, rate in (("slowest mode", 0.1), ("fastest mode", 0.5)):
        found = rows(drawn["perturbation_decay"], panel="window, length 7", group=group, kind="trained")
        assert [number(f["mean"]) for f in found] == pytest.approx(-rate * np.arange(LAYERS) * SPREAD.mean())


def test_readouts_leave_out_mixings_from_which_nothing_can_be_read():
    found = results(CLAIMS_RUN)
    tokenwise = (found["mixing"] == "tokenwise").values
    found["mode_r2"][tokenwise] = -0.001
    (one,) = figures.figures_modes.mode_relevance(figures.live_cells(found), "")
    assert {panel.title.split(",")[0] for panel in one.panels} == {"window"}
    assert "tokenwise." in one.caption
    last = row(one, panel="window, length 1", group="slowest mode", kind="trained", x=3)
    assert number(last["mean"]) == pytest.approx(0.9 * np.exp(-1 / SHORT) * SPREAD.mean())
    bayes = rows(one, panel="window, length 1", group="Bayes logits", x=3)
    assert [number(f["mean"]) for f in bayes] == pytest.approx([0.5, 0.9])


def test_a_flat_network_has_perturbations_but_no_readout():
    assert set(CLAIM_FIGURES) - set(draw([point("flat", x) for x in (SHORT, LONG)])) == {"mode_relevance"}


def test_singular_values_are_shares_of_the_norm_of_their_layer(drawn):
    one = drawn["singular_values"]
    found = rows(one, panel="window, length 7, trained", group="layer 3")
    values = spectrum(32, 3)[-1]
    assert [number(f["mean"]) for f in found] == pytest.approx(list(values / np.linalg.norm(values)))
    assert rows(one, panel="window, length 7, untrained")
    assert {axes.get_yscale() for axes in one.canvas.axes} == {axes.get_xscale() for axes in one.canvas.axes} == {"log"}
    without = results(CLAIMS_RUN).drop_vars("first_singular_values")
    assert figures.figures_modes.singular_values(figures.live_cells(without), "") == []


def test_many_lengths_have_a_figure_of_their_own_with_the_verdicts_selectivity():
    lengths = (0.5, SHORT, 2.0, LONG)
    points = [point("window", x, r) for x, r in zip(lengths, (0.3, 0.5, 0.7, 0.95), strict=True)]
    found = Results(results(points), CONFIG)
    one = {f.name: f for f in figures.figures(found, [])}["rank_ratio_correlation_length"]
    (verdict,) = judge([claim for claim in CLAIMS if claim.name == "S1-ii"], found)[:1]
    shortest = rows(one, group="window", kind="trained", x=0.5)[-1]
    assert interval(shortest) == [pytest.approx(x) for x in (verdict.measured, verdict.low, verdict.high)]
    assert verdict.measured == pytest.approx(np.log(0.3 / 0.95), abs=1e-3)
    assert len(figures.kernel_drift(figures.live_cells(found.dataset), [], "").panels) == 3


def test_every_reading_is_a_point_of_its_curve_beside_the_typical_one(drawn):
    data = Results(results(CLAIMS_RUN), CONFIG)
    verdicts = judge(CLAIMS[:3], data)
    for one in figures_readings.curves(data, verdicts):
        (claim,) = one.falsified_by
        for panel in one.panels:
            verdict = next(v for v in verdicts if v.claim == f"{claim} [all readings, {panel.title}]")
            assert tuple(panel.typical[:3]) == pytest.approx((verdict.measured, verdict.low, verdict.high), nan_ok=True)
            assert len(panel.rows(one)) == (28 if claim == "S1-iii" else 56)
            defined = [number(r["mean"]) for r in rows(one, panel=panel.title) if r["status"] != "undefined"]
            assert defined == sorted(defined)
            assert "typical" in panel.words(one) or "no reading" in panel.words(one)


def test_the_rank_is_drawn_against_what_was_learned(drawn):
    one = drawn["rank_learned"]
    found = rows(one, panel="mixing: window", group="length 1 tokens", kind="uncentred")
    # Three records against the fraction and three against the step; the last fraction is all but one hundredth.
    assert len(found) == 2 * len(STEPS)
    assert number(found[len(STEPS) - 1]["x"]) == pytest.approx(1.69 / 1.7)
    assert number(found[len(STEPS) - 1]["mean"]) == pytest.approx(0.4, abs=0.01)
    assert rows(one, panel="mixing: window, iid"), "controls have a panel of their own"


# --- phases


def test_phase_numbers_are_those_of_the_data(drawn):
    one = drawn["phase_depth"]
    ratio = row(one, panel="window: rank ratio R", row=2, column=1)
    assert [number(ratio[n]) for n in ("value", "low", "high")] == pytest.approx(t_interval(0.3 * SPREAD)[:3])
    for depth, expected in ((2, np.log(0.3 / 0.95)), (3, np.log(0.6 / 0.61))):
        found = row(one, panel="window: selectivity S against length 7", row=depth, column=1)
        assert number(found["value"]) == pytest.approx(expected)
    squares = texts(one)
    assert any(text.startswith("0.30\n[") for text in squares)
    assert squares.count("0 by\ndefinition") == 2


def test_only_squares_beyond_the_bounds_are_outlined(drawn):
    outlined = [{place for place, s in panel.squares.items() if s.outlined} for panel in drawn["phase_depth"].panels]
    assert outlined == [{("2", "7")}, {("2", "1")}]  # R = 0.95 and S = -1.15 at depth 2


def test_squares_without_enough_runs_say_so(drawn):
    squares = texts(drawn["phase_width"])
    found = draw(PHASES, dead=range(15, 18))["phase_width"]
    assert texts(found).count("0 of 3\nlive") == 2
    assert "longest\nlacking" in texts(found)
    assert "16, 7: 0 of 3 live" in found.alt
    # How much was learned stands in the square and leaves no run out.
    assert any(text.endswith("learned 0.18") for text in squares)


def test_phase_step_starts_at_the_untrained_network(drawn):
    one = drawn["phase_step"]
    assert one.panels[0].across == ["0", "1", "10"]  # the steps of other studies are not among them
    ends = [row(one, panel="window: rank ratio R", row=1, column=step)["value"] for step in (0, 10)]
    assert [number(x) for x in ends] == pytest.approx([UNTRAINED_RATIO, 0.3 * SPREAD.mean()])


def test_many_columns_are_stacked():
    lengths = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    one = draw([phase(x, 0.5, depth=d) for x in lengths for d in (2, 3)])["phase_depth"]
    panels = [axes for axes in one.canvas.axes if axes.get_title("left")]
    assert panels[0].get_position().x0 == pytest.approx(panels[1].get_position().x0, abs=0.01)
    assert panels[0].get_position().y0 > panels[1].get_position().y1


@pytest.mark.parametrize("dead", [(0,), (0, 1)])
def test_a_square_counts_its_dead_runs(dead):
    one = draw(PHASES[:4], dead)["phase_depth"]
    assert f"Dead runs left out: {len(dead)}." in one.caption
    assert ("no\nrecord" in texts(one)) == (len(dead) == 2)


# --- controls, settings, blocks


def test_control_numbers_are_those_of_the_data_and_of_the_verdict(drawn):
    one = drawn["controls"]
    change, learned = "window: change by training", "window: information learned"
    own = row(one, panel=change, name="none (claims)", group="length 1 tokens")
    found = Results(results(CLAIMS_RUN[:1]), CONFIG)
    verdict = judge(CLAIMS[:1], found)[0]
    assert verdict.claim == "S1-i [window, length 1]"
    assert interval(own) == pytest.approx([verdict.measured, verdict.low, verdict.high])
    shares = row(one, panel=learned, name="none (claims)", group="length 1 tokens")
    assert number(shares["mean"]) == pytest.approx(1.69 / 1.7)
    assert number(row(one, panel=change, name="untrained", group="length 7 tokens")["mean"]) == 0
    assert "iid, length 1 tokens: nothing to learn" in one.alt
    assert "time shuffled, length 1 tokens: no closed form" in one.alt


def test_setting_numbers_are_those_of_the_data(drawn):
    one = drawn["settings"]
    for name, length, ratio in (
        ("as configured", 1, 0.4),
        ("norm = post", 7, 0.35),
        ("chain.kind = circulant", 1, 0.5),
    ):
        found = row(one, panel="window: change by training", name=name, group=f"length {length} tokens")
        assert number(found["mean"]) == pytest.approx(np.log(ratio / 0.9))
    assert "tokenwise" not in one.alt, "only mixings that were run at other settings"


def test_block_numbers_are_those_of_the_data(drawn):
    one = drawn["blocks"]
    rank = row(one, panel="window, length 1", group="effective rank", kind="trained", x=1)
    assert interval(rank) == pytest.approx(t_interval(20 * 0.2 * SPREAD)[:3])
    assert number(row(one, panel="window, length 7", group="exact optimal predictor", x=2)["mean"]) == 2.5
    kept = row(one, panel="window, length 7: modes kept", group="slow modes", x=2)
    assert number(kept["mean"]) == pytest.approx(0.9 * np.exp(-1 / LONG) * SPREAD.mean())
    # A constant stream and one without positions have no rank to draw.
    assert "tokenwise, flat." in one.caption
    assert {panel.title.split(",")[0] for panel in one.panels} == {"window"}


# --- dead and unfinished runs


FEW = (*CLAIMS_RUN[:2], *PHASES[:4], *CONTROLS[:3], *BLOCKS[:4])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "dead", [pytest.param((0, 1, 2), marks=pytest.mark.slow), tuple(range(99))], ids=["a point", "all"]
)
def test_dead_runs_do_no_harm(dead):
    found = draw(FEW, dead)
    assert checked_words("rank_flow", found.values())
    for one in found.values():
        assert one.canvas and "nan" not in f"{one.caption} {one.csv}".lower()


def test_dead_runs_do_not_enter_a_mean():
    found = results(CLAIMS_RUN[:1], dead=(0,))
    found["effective_rank"][(found["died_at"] >= 0).values, 0] = 1e6  # what a run that died later had recorded before
    one = figures.figures(Results(found, CONFIG), [])[0]
    assert "Dead runs left out: 1." in one.caption
    assert max(number(f["mean"]) for f in rows(one)) < 100


@pytest.mark.filterwarnings("error")
def test_unfinished_runs_are_read_at_their_latest_record():
    found = draw(FEW, until=(0, 1))
    assert {"effective_rank_depth", "loss", "controls", "blocks", "phase_depth"} <= set(found)
    for one in found.values():
        assert one.canvas and "Unfinished runs" in one.caption, one.name


@pytest.mark.slow  # five seconds; sweeps that are not finished are drawn in the default suite
@pytest.mark.filterwarnings("error")
def test_one_seed_or_only_the_untrained_network_will_do():
    one_seed = results(CLAIMS_RUN[:2]).pipe(where, seed=0)
    for found in (one_seed, results(CLAIMS_RUN[:2]).sel(step=[0])):
        shown = figures.figures(Results(found, CONFIG), [])
        assert {"effective_rank_depth", "loss", "mode_flow"} <= {one.name for one in shown if one.canvas}
        assert checked_words("rank_flow", shown)


def test_stacks_of_unlike_depth_end_where_they_end():
    one = draw([point(depth=3), *PHASES])["kernel_drift"]
    assert {f["x"] for f in rows(one)} == {"0 \u2192 1", "1 \u2192 2", "2 \u2192 3"}
    shallow = results([point(depth=2)])
    shallow["kernel_drift"][..., 2:] = NAN
    assert {f["x"] for f in rows(figures.kernel_drift(figures.live_cells(shallow), [], ""))} == {
        "0 \u2192 1", "1 \u2192 2",
    }  # fmt: skip


@pytest.mark.slow  # reports of equal results are compared in test_report
def test_equal_results_give_equal_files(drawn, tmp_path):
    again = draw(PHASES)
    for name, one in again.items():
        assert one.csv == drawn[name].csv, name
    # Two kinds of panels, squares and lines, tell for all: the files of every figure are written by the same code.
    assert again["phase_depth"].svg == drawn["phase_depth"].svg
    for folder in ("a", "b"):
        draw(CLAIMS_RUN[:1])["loss"].save(tmp_path / folder)
    for name in ("loss.svg", "loss.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
