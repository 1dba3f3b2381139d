"""Figures of phases, relevance, controls and block chains, from results made by hand."""

import re
import xml.etree.ElementTree

import numpy as np
import pytest
import xarray as xr
from figure_words import checked_words
from rgflow.report.rank_flow_controls import control_figures
from rgflow.report.rank_flow_phases import phase_figures
from rgflow.report.rank_flow_relevance import relevance_figures

from rgflow.rank_flow import probe
from rgflow.report import figures

NAN = float("nan")
LAYERS, MODES, SEEDS = 4, 3, 3
CLAIM, PHASE = {"steps": 100, "learning_rate": 1e-3}, {"steps": 10, "learning_rate": 3e-3}
STEPS = (0, 1, 10, 100)
SIZES = {"depth": 3, "width": 32, "window": 4, "cooldown": 0.0}
CENTRE = {"depth": 2, "width": 8, "window": 1, "cooldown": 0.3}
CONFIG = {
    **SIZES,
    "chain": {"kind": "dirichlet_lazy", "groups": 4},
    "norm": "pre",
    "training": dict.fromkeys(("window", "tokenwise", "flat", "attention"), CLAIM),
    "phases": {**CENTRE, **PHASE},
}
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


def results(points, dead=()):
    """Results of three seeds per point; ``dead`` runs have no record after the untrained one."""
    runs = [(p, seed) for p in points for seed in range(SEEDS)]
    shape = (len(runs), len(STEPS), len(probe.LEVELS), len(probe.CENTRINGS), LAYERS)
    rank, loss = np.full(shape, NAN), np.full(shape[:2], NAN)
    r2, push = np.full((*shape[:2], LAYERS, MODES), NAN), np.full((*shape[:2], MODES, LAYERS), NAN)
    bayes_r2, moduli = np.full((*shape[:2], LAYERS), NAN), np.zeros((len(runs), MODES))
    for k, (p, seed) in enumerate(runs):
        last, depth = STEPS.index(p["steps"]), p["depth"]
        layer = np.arange(depth + 1)
        slow = np.exp(-1 / p["correlation_length"])
        block = p["chain.kind"] == "block"
        moduli[k] = (
            np.where(np.arange(MODES) < p["chain.groups"] - 1, slow, 1e-17) if block else slow ** np.arange(1, 4)
        )
        for s in range(1 if k in dead else last + 1):
            final = 1.0 if p["control"] == "untrained" else p["ratio"] / UNTRAINED_RATIO * SPREAD[seed]
            ratio = UNTRAINED_RATIO * final ** (s / last)
            rank[k, s, ..., : depth + 1] = 20 * ratio ** (layer / depth)
            loss[k, s] = 2.9 + (p["loss"] - 2.9) * s / last
            r2[k, s, : depth + 1] = 0.9 * s / last * moduli[k] ** (layer[:, None] / 3) * SPREAD[seed]
            bayes_r2[k, s, : depth + 1] = 0.5 + 0.4 * s / last
            push[k, s, :, : depth + 1] = -(0.1 * np.arange(1, 4) * s / last)[:, None] * layer * SPREAD[seed]
    if runs:
        flat = np.array([p["mixing"] == "flat" for p, _ in runs])
        rank[flat, :, :3], r2[flat], bayes_r2[flat] = NAN, NAN, NAN
        tokenwise = np.array([p["mixing"] == "tokenwise" for p, _ in runs])
        rank[tokenwise, :, 1, 1] = NAN
    nothing = np.array([p["control"] in ("iid", "random_labels") for p, _ in runs])
    unknown = np.array([p["control"] == "time_shuffled" for p, _ in runs])
    bayes = np.where(nothing, 2.7, np.where(unknown, NAN, 1.0))
    reading, grid = ("run", "step", "level", "centring"), ("run", "step")
    ranks = {name: ((*reading, "layer"), rank / k) for k, name in enumerate(probe.RANKS, 1)}
    names = dict.fromkeys(name for p in (point(), *points) for name in p if name not in ("ratio", "loss"))
    return xr.Dataset(
        {
            **ranks,
            "predictor_effective_rank": ((*grid, "centring"), np.stack([0 * loss + 2.5] * 2, axis=-1)),
            "mode_r2": ((*grid, "layer", "mode"), r2),
            "bayes_r2": ((*grid, "layer"), bayes_r2),
            "perturbation": ((*grid, "mode", "layer"), push + GROWTH * np.arange(LAYERS)),
            "stream_growth": ((*grid, "layer"), GROWTH * np.arange(LAYERS) + 0 * loss[..., None]),
            "loss": (grid, loss),
            "excess_loss": (grid, loss - bayes[:, None]),
            "mode_modulus": (("run", "mode"), moduli),
            "blind_loss": ("run", np.full(len(runs), 2.7)),
            "bayes_loss": ("run", bayes),
            "architecture_loss": ("run", bayes),
            "died_at": ("run", np.array([1 if k in dead else -1 for k in range(len(runs))], int)),
        },
        {
            "step": list(STEPS), "level": list(probe.LEVELS), "centring": list(probe.CENTRINGS),
            "layer": np.arange(LAYERS), "mode": np.arange(1, MODES + 1), "seed": ("run", [s for _, s in runs]),
            **{name: ("run", [p.get(name, CONFIG.get(name)) for p, _ in runs]) for name in names},
        },
    )  # fmt: skip


PHASES = [
    phase(x, r, depth=d) for d, by_length in {2: (0.3, 0.95), 3: (0.6, 0.61)}.items()
    for x, r in zip((SHORT, LONG), by_length, strict=True)
] + [phase(SHORT, 0.5, width=16), phase(LONG, 0.8, loss=2.4, width=16)]  # fmt: skip
CLAIMS = [point(m, x, r) for m in ("window", "tokenwise") for x, r in ((SHORT, 0.4), (LONG, 0.8))]
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


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "RESAMPLES", 99)
        yield


def draw(maker, points, dead=(), settled=False):
    """The figures by name; with their panels in place, which takes longer, only where asked for."""
    with figures.style():
        drawn = {one.name: one for one in maker(results(points, dead), CONFIG)}
        for one in drawn.values() if settled else ():
            figures.settle(one.figure)
    return drawn


@pytest.fixture(scope="module")
def drawn():
    every = draw(phase_figures, PHASES, settled=True) | draw(relevance_figures, CLAIMS, settled=True)
    return every | draw(control_figures, CLAIMS + CONTROLS + SETTINGS + BLOCKS, settled=True)


def texts(figure):
    """Everything written inside the panels of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def number(pattern, text):
    return float(re.search(pattern, text).group(1))


def test_full_results_give_every_figure(drawn):
    assert list(drawn) == [
        "phase_depth", "phase_width", "phase_step", "mode_relevance", "perturbation_decay",
        "controls", "settings", "blocks",
    ]  # fmt: skip
    for one in drawn.values():
        assert one.figure.get_size_inches()[0] <= figures.WIDTH_INCHES
        assert "nan" not in f"{one.caption} {one.alt}".lower()
        svg = one.svg
        assert xml.etree.ElementTree.fromstring(svg).tag.endswith("svg")
        assert b"<image" not in svg


def test_words_say_what_would_falsify_which_claim(drawn):
    assert {"S1-data", "S1-blocks"} <= checked_words("rank_flow", drawn.values())


def test_studies_that_were_not_run_have_no_figure():
    assert draw(phase_figures, CLAIMS) == {}
    assert draw(phase_figures, []) == {}
    assert draw(phase_figures, [p for p in PHASES if p["correlation_length"] == SHORT]) == {}
    assert draw(relevance_figures, PHASES) == {}
    assert draw(control_figures, CLAIMS + PHASES) == {}


def test_phase_numbers_are_those_of_the_data(drawn):
    alt = drawn["phase_depth"].alt
    mean_ratio = 0.3 * SPREAD.mean()
    assert number(r"window, depth 2: R = (\S+) \[", alt) == pytest.approx(mean_ratio, abs=0.005)
    selectivity = np.log(0.3) - np.log(0.95)
    assert number(r"window, depth 2: R = .*?, S = (\S+) \[", alt) == pytest.approx(selectivity, abs=0.005)
    assert number(r"window, depth 3: R = .*?, S = (\S+) \[", alt) == pytest.approx(np.log(0.6 / 0.61), abs=0.005)
    squares = texts(drawn["phase_depth"].figure)
    assert any(text.startswith("0.30\n[") for text in squares)
    assert squares.count("0 by\ndefinition") == 2


def frames(panel):
    """Squares that an outline is drawn around, as (column, row)."""
    found = [patch for patch in panel.patches if not patch.get_fill()]
    return {(round(p.get_x() + p.get_width() / 2), round(p.get_y() + p.get_height() / 2)) for p in found}


def test_only_squares_beyond_the_bounds_are_outlined(drawn):
    ratio, selectivity = drawn["phase_depth"].figure.axes[:2]
    assert frames(ratio) == {(1, 0)}  # R = 0.95 at depth 2 and the longer length
    assert frames(selectivity) == {(0, 0)}  # S = -1.15 at depth 2, -0.02 at depth 3


def test_squares_without_enough_runs_say_so(drawn):
    # At width 16 and the longer length the loss is far from the optimum; so there is no S at the shorter one either.
    squares = texts(drawn["phase_width"].figure)
    assert squares.count("0 of 3\nlearned") == 2
    assert "longest\nlacking" in squares
    assert "window, width 16: R = 0.50" in drawn["phase_width"].alt
    assert "0 of 3 learned at length 7" in drawn["phase_width"].alt


def test_squares_tell_convergence_from_learning():
    points = [*PHASES[:3], phase(LONG, 0.6, loss=1.1, depth=3)]
    assert "0 of 3\nconverged" in texts(draw(phase_figures, points)["phase_depth"].figure)


def test_phase_step_starts_at_the_untrained_network(drawn):
    figure, alt = drawn["phase_step"].figure, drawn["phase_step"].alt
    columns = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert columns == ["0", "1", "10"]  # the steps of other studies are not among them
    assert number(r"length 1: R (\S+) ", alt) == UNTRAINED_RATIO
    assert number(r"length 1: .*? untrained, (\S+) ", alt) == 0.3
    assert "no run is left out for what it had not learned yet" in drawn["phase_step"].caption


def test_many_columns_are_stacked():
    lengths = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    points = [phase(x, 0.5, depth=d) for x in lengths for d in (2, 3)]
    figure = draw(phase_figures, points, settled=True)["phase_depth"].figure
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert panels[0].get_position().x0 == pytest.approx(panels[1].get_position().x0, abs=0.01)
    assert panels[0].get_position().y0 > panels[1].get_position().y1


def test_relevance_numbers_are_those_of_the_data(drawn):
    alt = drawn["mode_relevance"].alt
    slow = np.exp(-1 / SHORT)
    expected = 0.9 * slow * SPREAD.mean()  # at the last layer, moduli ** (3 / 3)
    assert number(r"window, length 1: slowest mode \(modulus 0.368\) (\S+) ", alt) == pytest.approx(expected, abs=0.01)
    assert number(r"window, length 1: .*?Bayes logits (\S+) ", alt) == 0.9
    assert number(r"window, length 1: .*?Bayes logits .*?trained, (\S+) ", alt) == 0.5


def test_decay_numbers_are_those_of_the_data(drawn):
    alt = drawn["perturbation_decay"].alt
    assert "window, length 1: dynamic range 3.00 [3.00, 3.00] trained; not every mode decays" in alt
    assert number(r"rate of the fastest mode (\S+) ", alt) == pytest.approx(0.3 * SPREAD.mean(), abs=0.005)
    assert "dynamic range 3.00 [3.00, 3.00]" in drawn["perturbation_decay"].caption


def test_a_flat_network_has_perturbations_but_no_readout():
    drawn = draw(relevance_figures, [point("flat", x) for x in (SHORT, LONG)])
    assert list(drawn) == ["perturbation_decay"]


def test_control_numbers_are_those_of_the_data(drawn):
    alt = drawn["controls"].alt
    assert number(r"window, none, length 1: change (\S+) ", alt) == pytest.approx(np.log(0.4 / 0.9), abs=0.005)
    assert number(r"window, none, length 1: .*? learned (\S+)", alt) == pytest.approx(1.69 / 1.7, abs=0.005)
    assert "window, untrained, length 7: change 0.00 [0.00, 0.00]" in alt
    assert re.search(r"window, iid, length 1: change -0.25 \[.*?\], learned nothing to learn", alt)
    assert re.search(r"window, time_shuffled, length 1: change .*?, learned no closed form", alt)
    left = drawn["controls"].figure.axes[0]
    assert left.get_yticklabels()[0].get_text() == "none (claims)"


def test_setting_numbers_are_those_of_the_data(drawn):
    alt = drawn["settings"].alt
    assert number(r"window, as configured, length 1: change (\S+) ", alt) == pytest.approx(np.log(0.4 / 0.9), abs=0.005)
    assert number(r"window, norm = post, length 7: change (\S+) ", alt) == pytest.approx(np.log(0.35 / 0.9), abs=0.005)
    assert "window, chain.kind = circulant, length 1: change" in alt
    assert "tokenwise" not in alt, "only mixings that were run at other settings"


def test_a_sweep_with_attention_has_figures_of_the_claims_on_it():
    drawn = draw(relevance_figures, [point(m, x) for m in ("window", "attention") for x in (SHORT, LONG)])
    assert "S1b-decay" in drawn["perturbation_decay"].claims
    assert "S1b-decay" in drawn["perturbation_decay"].falsified_by


def test_block_numbers_are_those_of_the_data(drawn):
    alt = drawn["blocks"].alt
    rank = 20 * 0.2 * SPREAD.mean()
    assert number(r"window, length 1, 1 relevant: effective rank (\S+) ", alt) == pytest.approx(rank, abs=0.05)
    assert number(r"window, length 7, 2 relevant: .*? exact optimal predictor (\S+)", alt) == 2.5
    kept = 0.9 * np.exp(-1 / LONG) * SPREAD.mean()
    assert number(r"window, length 7, 2 relevant: .*R squared (\S+) ", alt) == pytest.approx(kept, abs=0.01)
    # A constant stream and one without positions have no rank to draw.
    assert "tokenwise, flat." in drawn["blocks"].caption
    assert {axes.get_title().split(",")[0].split(":")[0] for axes in drawn["blocks"].figure.axes} == {"window"}


FEW = ((phase_figures, PHASES[:4]), (relevance_figures, CLAIMS[:2]), (control_figures, CONTROLS[:3] + BLOCKS[:4]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dead", [(0, 1, 2), tuple(range(99))], ids=["a point", "all"])
def test_dead_runs_do_no_harm(dead):
    for maker, points in FEW:
        for one in draw(maker, points, dead, settled=True).values():
            assert "nan" not in f"{one.caption} {one.alt}".lower()


@pytest.mark.parametrize("dead", [(0,), (0, 1)])
def test_a_square_counts_its_dead_runs(dead):
    drawn = draw(phase_figures, PHASES[:4], dead)["phase_depth"]
    assert f"Dead runs, counted among those left out: {len(dead)}." in drawn.caption
    assert ("1 of 3\nconverged" in texts(drawn.figure)) == (len(dead) == 2)


@pytest.mark.filterwarnings("error")
def test_unfinished_runs_are_read_at_their_latest_record():
    with figures.style():
        for maker, points in FEW:
            found = maker(results(points).sel(step=[0, 1]), CONFIG)
            assert found
            assert all("Unfinished runs" in one.caption for one in found)


def test_equal_results_give_equal_files(drawn):
    again = draw(phase_figures, PHASES, settled=True)
    for name, one in again.items():
        assert one.svg == drawn[name].svg, name
