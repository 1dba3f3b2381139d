"""The figures that compare features with other compressions: couplings, on-site parameters, dependence."""

from collections.abc import Sequence

from rgflow.fixed_points.controls import COUPLING_MARGIN, KURTOSIS_MARGIN
from rgflow.report.figures import Drawn
from rgflow.report.fixed_points_compare import (
    CORRELATION,
    INFORMATION,
    KURTOSIS,
    QUARTIC,
    RING,
    Measure,
    comparison,
    comparison_rows,
    facts_of,
)
from rgflow.report.fixed_points_points import ESTIMATOR, Board, about_runs, setting_name

BARS = (
    "Bars: 95 % intervals over runs; hollow on the left: the loss still moved or little was learned, so that the "
    "premise of the theorem does not hold."
)
CONTROLS_TEXT = (
    "Right: what needs no training, at equal compression (the same networks untrained, random orthonormal directions, "
    "the longest waves, every b-th site, block sums), and networks trained on samples whose sites were shuffled."
)


def _about(board: Board) -> str:
    points = [board.networks[network] for network in board.main] + list(board.compressions.values())
    return about_runs([cell for one in points for cell in one.values()])


def _networks_text(board: Board) -> str:
    if not board.main:
        return "No networks were trained."
    return f"Left: the features of trained networks ({setting_name(board.setting)})."


def _drawn(
    board: Board, measures: Sequence[Measure], name: str, caption: str, title: str, falsified_by: str
) -> list[Drawn]:
    found = comparison(board, measures)
    if found is None:
        return []
    figure, kinds = found
    facts = "; ".join(f"{m.name.replace('_', ' ')}: {facts_of(board, kinds, m)}" for m in measures)
    rows = [row for row in comparison_rows(board, measures) if row["data"] in kinds]
    return [Drawn(name, figure, caption, f"{title} {facts}.", rows, ("S2",), f"S2: {falsified_by}")]


def couplings(board: Board) -> list[Drawn]:
    """Returns the ring coupling of the features against that of the data, beside all controls."""
    caption = (
        f"Ring coupling of standardised features against the coupling K of the data. {_networks_text(board)} "
        f"{CONTROLS_TEXT} {BARS} {ESTIMATOR[0].upper()}{ESTIMATOR[1:]}. Lines: the coupling of the data itself after "
        f"as many exact steps. Grey: within {COUPLING_MARGIN:g} of 0, the coupling of every fixed point; the scale is "
        f"linear there and logarithmic beyond. {_about(board)}"
    )
    falsified_by = (
        "a converged network whose mark lies outside the grey band at any K, the more so if it moves with K; a mark "
        "inside it says nothing about training if the untrained or a linear control is inside too."
    )
    title = "Ring coupling of features and controls."
    return _drawn(board, [RING], "fixed_points_couplings", caption, title, falsified_by)


def on_site(board: Board) -> list[Drawn]:
    """Returns the excess kurtosis of the features beside both fixed points and all controls."""
    caption = (
        f"Excess kurtosis of the features against the coupling K of the data. {_networks_text(board)} {CONTROLS_TEXT} "
        f"{BARS} Dashed: fixed point of decimation, the law of a single site of the data (-2 for spins); dotted: "
        f"fixed point of block sums, the Gaussian (0); grey: within {KURTOSIS_MARGIN:g} of either. {_about(board)} "
        "Saturated units are near -2 and sums of many sites near 0 without any renormalization: the controls show how "
        "much of it is that."
    )
    falsified_by = (
        "for the fixed point of one scheme, marks of converged networks outside the band of that scheme at any K; "
        "marks at neither line refute both."
    )
    title = "Excess kurtosis of features and controls."
    return _drawn(board, [KURTOSIS], "fixed_points_on_site", caption, title, falsified_by)


def quartic(board: Board) -> list[Drawn]:
    """Returns the quartic parameter of the features of fields beside both fixed points; spins have none."""
    caption = (
        "Mean quartic parameter theta_4 of standardised features of fields (spins have none), fitted by score "
        f"matching with the couplings. {_networks_text(board)} {CONTROLS_TEXT} {BARS} Dashed: fixed point of "
        "decimation, the fit to independent sites of the data; dotted: the Gaussian of block sums (0). "
        f"{_about(board)} Features of saturated units have nearly no density between their ends: there the fit is huge."
    )
    falsified_by = "for the fixed point of one scheme, marks of converged networks off the line of that scheme."
    title = "Quartic parameter of features and controls."
    return _drawn(board, [QUARTIC], "fixed_points_quartic", caption, title, falsified_by)


def model_free(board: Board) -> list[Drawn]:
    """Returns mutual information and correlation of pairs of features, which no fitted family can distort."""
    caption = (
        "Dependence between features without a model: mean mutual information of pairs, and root mean square of their "
        f"correlations, against the coupling K of the data. {_networks_text(board)} {CONTROLS_TEXT} {BARS} Both would "
        f"be 0 up to sampling at a fixed point, whose sites are independent. {_about(board)}"
    )
    falsified_by = (
        "trained features that stay as dependent as untrained ones or as the decimated data; features without "
        "correlation, but with mutual information, are not at a fixed point either."
    )
    title = "Dependence of features."
    return _drawn(board, [INFORMATION, CORRELATION], "fixed_points_model_free", caption, title, falsified_by)


MAKERS = (couplings, on_site, quartic, model_free)
