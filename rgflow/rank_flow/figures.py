"""Figures of the rank-flow room: ranks, drift and loss of the claims' own runs; those of other studies follow.

Ranks are read at all positions, uncentred (of a flat network: pooled), unless a panel says otherwise. A run that is
not finished is shown at its latest record.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.claim import known
from rgflow.judging.text import number_text
from rgflow.plots.figure import Figure, about_runs
from rgflow.plots.panel import Guide, Panel, Series, constant
from rgflow.protocol import Results, Verdict
from rgflow.rank_flow import figures_controls, figures_modes, figures_phases
from rgflow.rank_flow.collapse import SELECTIVITY_BOUND, collapse_is_selective, first_layer, log_ratio, reading_of
from rgflow.rank_flow.figures_learning import rank_learned
from rgflow.rank_flow.figures_modes import LAYER, along_depth, states_of
from rgflow.rank_flow.figures_readings import LEVELS, curves
from rgflow.rank_flow.learning import CONVERGED_NATS
from rgflow.rank_flow.select import Cell, by_mixing, by_mixing_and_length, claim_runs, ended, live_cells, some_lengths

STEP, LENGTH = "training step (0 = untrained)", "length {:g} tokens"
RATIO = "rank ratio $R = ER_L / ER_0$"
EXACT = "exact optimal predictor"
ABOUT_EXACT = (
    "The exact optimal predictor of what the architecture can see has this effective rank of its logits at scored "
    "positions; a stream that weighs directions otherwise may lie below it."
)


def ratios(records: xr.Dataset) -> Float[np.ndarray, "runs *steps"]:
    """Returns the rank ratio R in the main reading."""
    return np.exp(log_ratio(records, reading_of(records)))


def predicted(cell: Cell, centring: str) -> float:
    """Returns the mean effective rank of the exact optimal predictor's logits over the live runs of a cell."""
    return float(cell.latest["predictor_effective_rank"].sel(centring=centring).values.mean())


def ranks(cell: Cell, **reading: str) -> list[Series]:
    """Returns the effective rank of a cell against depth, before and after training, beside the exact predictor's."""
    states = states_of(cell)
    found = [along_depth(cell.length, kind, states[kind]["effective_rank"].sel(reading)) for kind in states]
    if not any(series.found for series in found):
        return found
    exact = predicted(cell, reading["centring"])
    return [*found, constant(cell.length, "exact", cell.runs["layer"].values, exact)]


def effective_rank_depth(cells: list[Cell], about: str) -> Figure:
    """Returns effective rank against depth, one panel per mixing, trained and untrained."""
    mixings = by_mixing(cells)
    attention = {
        "S1b-rank": "attention at layer 1 below the number of symbols at the longest length",
        "S1b-same": "attention and an MLP apart in some layer at the shortest length",
    }
    return Figure(
        name="effective_rank_depth", x=LAYER, y="effective rank", scale="log", x_scale="whole", group=LENGTH,
        each_run=True, called={"exact": EXACT},
        caption="Effective rank of the residual stream against depth (all positions, uncentred). On the logarithmic "
        f"axis equal drops are equal ratios. {ABOUT_EXACT} {about}",
        falsified_by={
            "S1-i": "solid lines that fall no more than the dashed ones of the same colour, or rise on their way",
            "S1-ii": "solid lines that fall alike at all correlation lengths",
        } | (attention if "attention" in mixings else {}),
        panels=[
            Panel(f"mixing: {mixing}", [s for cell in mine for s in ranks(cell, **reading_of(cell.runs))], height=3.4)
            for mixing, mine in mixings.items()
        ],
    )  # fmt: skip


def effective_rank_levels(cells: list[Cell], about: str) -> Figure:
    """Returns effective rank against depth for every level (columns) and every mixing and centring (rows)."""
    cells = some_lengths(cells)
    some = cells[0].runs
    return Figure(
        name="effective_rank_levels", x="layer", y="effective rank", scale="log", x_scale="whole", group=LENGTH,
        columns=some.sizes["level"], called={"exact": EXACT},
        caption="The same effective rank read from other rows (columns: all positions, the scored ones, the others, "
        "the mean over each sequence, positions of sequences without masks, the update of each block, the normalised "
        "stream), with the column mean left in (uncentred) or taken out (centred). "
        f"Where all rows are equal there is no centred rank. {about}",
        falsified_by=dict.fromkeys(
            ("S1-i", "S1-ii"), "as a statement about the whole stream, by a fall that shows in some panels only; one "
            "that is gone when centred is a shift of the mean and no loss of directions"
        ),
        panels=[
            Panel(f"{mixing},\n{LEVELS[one]},\n{centring}",
                  [s for cell in mine for s in ranks(cell, level=one, centring=centring)], height=1.75,
                  empty="undefined" if any(cell.count for cell in mine) else "no live run")
            for mixing, mine in by_mixing(cells).items()
            for centring in some["centring"].values.tolist()
            for one in some["level"].values.tolist()
        ],
    )  # fmt: skip


def rank_training(cells: list[Cell], about: str) -> Figure:
    """Returns the rank ratio against training step, one panel per mixing."""

    def series(cell: Cell) -> list[Series]:
        recorded = cell.runs.dropna("step", how="all", subset=["effective_rank"]).transpose("run", "step", ...)
        steps, reading = recorded["step"].values, reading_of(cell.runs)
        trained = Series(cell.length, "trained", steps, ratios(recorded))
        if not cell.count:
            return [trained]
        ranks = cell.latest["effective_rank"].sel(reading)
        embedding = ranks.isel(layer=first_layer(ranks)).values.mean()
        exact = predicted(cell, reading["centring"]) / float(embedding) if embedding else np.nan
        return [trained, constant(cell.length, "exact", steps, exact)]

    return Figure(
        name="rank_training", x=STEP, y=RATIO, x_scale="step", group=LENGTH, share_x=False, each_run=True,
        called={"exact": EXACT, "trained": "stream"},
        caption="Rank of the last layer over that of the embedding during training; the leftmost point is the "
        f"untrained network. {about}",
        falsified_by={
            "S1-i": "curves that do not go down",
            "S1-ii": "curves of all correlation lengths that go down together",
        },
        panels=[
            Panel(f"mixing: {mixing}", [s for cell in mine for s in series(cell)], [Guide("no collapse", y=1.0)])
            for mixing, mine in by_mixing(cells).items()
        ],
    )  # fmt: skip


def rank_ratio_correlation_length(cells: list[Cell], results: Results, about: str) -> Figure:
    """Returns rank ratio and selectivity against correlation length."""
    judged = by_mixing_and_length(ended(claim_runs(results.dataset, results.config)))
    ratio, selectivity = [], []
    for mixing, mine in by_mixing(cell for cell in cells if cell.count).items():
        for kind in ("untrained", "trained"):
            ratio += [Series(mixing, kind, [c.length], ratios(states_of(c)[kind])[:, None]) for c in mine]
        at = judged.get(mixing, {})
        shorter = list(at)[:-1]
        found = [collapse_is_selective(at[x], at[max(at)], mixing).interval for x in shorter]
        selectivity.append(Series(mixing, "trained", shorter, intervals=found))
    return Figure(
        name="rank_ratio_correlation_length", x="correlation length (tokens)", x_scale="log", share_y=False,
        caption="Left: rank ratio against correlation length. Right: selectivity against the longest length, "
        "c(length) - c(longest), where c is the change of ln R by training. "
        f"{about}",
        falsified_by={
            "S1-ii": f"a selectivity above {SELECTIVITY_BOUND} at the shortest length (grey line), or an R at the "
            "longest that training lowers",
            "S1-i": "R of the trained no lower than that of the untrained network",
        },
        panels=[
            Panel("", ratio, [Guide("no collapse", y=1.0)], y=RATIO, height=3.2),
            Panel("", selectivity, [Guide("bound of S1-ii", y=SELECTIVITY_BOUND)], y="selectivity", height=3.2),
        ],
    )  # fmt: skip


def kernel_drift(cells: list[Cell], verdicts: Sequence[Verdict], about: str) -> Figure:
    """Returns the kernel drift of every transition, trained beside untrained, and the verdict's number on it."""

    def panel(cell: Cell) -> Panel:
        share = known(verdicts, "S1-iii", cell.place)
        said = f"\ngain of $C_2$: {number_text(*share[:3])}" if share.n else ""
        names = [f"{k} → {k + 1}" for k in cell.runs["transition"].values]
        found = []
        for kind, records in states_of(cell).items():
            drift = records["kernel_drift"].sel(reading_of(cell.runs)).transpose("run", "transition").values
            found.append(Series("", f"{kind} bars", names, drift))
        return Panel(f"{cell.place}{said}", found, height=2.1)

    shown = some_lengths(cells)
    return Figure(
        name="kernel_drift", x="transition (layer → layer)", y="kernel drift, 1 - CKA", group={"": ""},
        columns=len({cell.length for cell in shown}), share_x=False,
        caption="Change of the Gram matrix of the stream from one layer to the next. $C_2$ is the share of the two "
        "largest changes in the total; its gain is trained less untrained. "
        f"{about}",
        falsified_by={"S1-iii": "filled bars spread evenly over the transitions, or as much as the hatched ones"},
        panels=[panel(cell) for cell in shown],
    )  # fmt: skip


def loss(cells: list[Cell], about: str) -> Figure:
    """Returns the loss above its optimum against training step, on a logarithmic axis."""

    def series(cell: Cell) -> list[Series]:
        recorded = cell.runs.dropna("step", how="all", subset=["loss"])
        steps, best = recorded["step"].values, recorded["architecture_loss"]
        above = (recorded["loss"] - best).where(best.notnull(), recorded["excess_loss"]).transpose("run", "step")
        trained = Series(cell.length, "trained", steps, above.values)
        if not cell.count:
            return [trained]
        blind = float((recorded["blind_loss"] - best.fillna(recorded["bayes_loss"])).values.mean())
        return [trained, constant(cell.length, "exact", steps, blind if blind > CONVERGED_NATS else np.nan)]

    mixings = by_mixing(cells)
    unknown = {m: bool(mine[0].runs["architecture_loss"].isnull().all()) for m, mine in mixings.items()}
    claims = {
        "S1b-loss": "attention and an MLP that end apart at the shortest correlation length, or together at the longest"
    }
    return Figure(
        name="loss", x=STEP, y="loss above the optimum (nats)", scale="log", x_scale="step", group=LENGTH,
        share_x=False, each_run=True, called={"trained": "network", "exact": "optimum without sight of other tokens"},
        caption="Loss on held-out masked tokens above the exact optimum of what the architecture can see"
        + (", and where that is not known, above the optimum with the whole sequence in sight" * any(unknown.values()))
        + f". The logarithmic axis leaves out what is not positive. {about}",
        falsified_by=claims if "attention" in mixings else {},
        purpose="It shows whether one can be judged: the ranks of a network that has learned no correlation say "
        "nothing about the data.",
        panels=[
            Panel(f"mixing: {mixing}" + (" (whole sequence)" * unknown[mixing]),
                  [s for cell in mine for s in series(cell)], [Guide("counts as converged", y=CONVERGED_NATS)])
            for mixing, mine in mixings.items()
        ],
    )  # fmt: skip


def figures(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns every figure that the studies of a sweep allow: claims, readings, modes, controls, blocks, phases."""
    runs = claim_runs(results.dataset, results.config)
    others = [*figures_controls.figures(results), *figures_phases.figures(results)]
    if not runs.sizes["run"]:
        return others
    cells, about = live_cells(runs), about_runs(runs)
    many = len({cell.length for cell in cells}) > 2
    return [
        effective_rank_depth(cells, about), *([rank_ratio_correlation_length(cells, results, about)] if many else []),
        rank_training(cells, about), kernel_drift(cells, verdicts, about), loss(cells, about),
        effective_rank_levels(cells, about), *curves(results, verdicts), *rank_learned(results, cells, about),
        *figures_modes.figures(cells, verdicts, about), *others,
    ]  # fmt: skip
