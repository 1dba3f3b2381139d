"""Every reading of S1-i, S1-ii and S1-iii: a specification curve for each place, beside the typical reading."""

from collections.abc import Sequence

from rgflow.judging.claim import known
from rgflow.judging.components import MARGIN
from rgflow.judging.readings import ERROR_RATE, Shown
from rgflow.plots.curve import Curve
from rgflow.plots.figure import Figure
from rgflow.plots.panel import Guide
from rgflow.protocol import Results, Verdict
from rgflow.rank_flow.collapse import SELECTIVITY_BOUND
from rgflow.rank_flow.drift import GAIN
from rgflow.rank_flow.readings import ALL_READINGS, places
from rgflow.rank_flow.select import by_mixing_and_length, claim_runs, ended

LEVELS = {"position": "all positions", "masked": "scored", "unmasked": "not scored", "pooled": "sequence means",
          "clean": "no masks", "update": "updates", "normalised": "normalised"}  # fmt: skip

BOUNDS = {"S1-i": -MARGIN, "S1-ii": SELECTIVITY_BOUND, "S1-iii": GAIN}
EFFECTS = {
    "S1-i": "c, change of ln R by training",
    "S1-ii": "S = c(short) - c(long)",
    "S1-iii": "gain of $C_2$ by training",
}


def worded(shown: Sequence[Shown]) -> list[Shown]:
    """Returns readings with their levels in words."""
    return [
        one._replace(factors={name: LEVELS.get(x, x.replace("_", " ")) for name, x in one.factors.items()})
        for one in shown
    ]


def curves(results: Results, verdicts: Sequence[Verdict]) -> list[Figure]:
    """Returns a figure of specification curves for each claim that has readings."""
    found = places(by_mixing_and_length(ended(claim_runs(results.dataset, results.config))))
    made = []
    for claim in dict.fromkeys(place.claim for place in found):
        mine = [place for place in found if place.claim == claim]
        bound = Guide("bound of the effect", y=BOUNDS[claim])
        panels = [
            Curve(one.place, worded(one.shown), known(verdicts, claim, f"{ALL_READINGS}, {one.place}"), [bound])
            for one in mine
        ]
        made.append(Figure(
            name=f"readings_{claim.replace('-', '_').lower()}", columns=1, share_x=False, share_y=False, wide=True,
            y=EFFECTS[claim], panels=panels,
            caption=f"{claim} in every reading: rows of the measured matrix, centring and measure, sorted by the "
            "effect. A bar is Student's interval at a level that holds for all readings of a panel together; the "
            f"colour is what Holm's method shows among them, with {ERROR_RATE:.0%} for any error. The line is the "
            "typical reading, in which each run has the median over its readings: it decides. Undefined readings are "
            "left out.",
            falsified_by={claim: "a typical reading on the other side of the bound, or readings shown in both colours"},
        ))  # fmt: skip
    return made
