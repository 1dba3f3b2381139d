"""Every reading of S1-i, S1-ii and S1-iii in one picture."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

from rgflow.judging.readings import ERROR_RATE
from rgflow.judging.text import number_text
from rgflow.plots.figure import Figure
from rgflow.plots.matrix import STATUSES, Matrix, Square
from rgflow.protocol import Results
from rgflow.rank_flow.readings import Reading, readings
from rgflow.rank_flow.select import by_mixing_and_length, claim_runs, ended

LEVELS = {"position": "all positions", "masked": "scored", "unmasked": "not scored", "pooled": "sequence means"}

SHORT = {"effective_rank": "effective", "energy_rank": "energy", "participation_ratio": "participation",
         "stable_rank": "stable", "kernel_drift": "kernel", "frobenius_drift": "Frobenius"}  # fmt: skip
"""Names of the measures that fit a column; the claim says whether a rank or a drift is meant."""


def counts_text(found: Sequence[Reading]) -> str:
    """Returns how many readings have each status, in words."""
    statuses = [reading.status for reading in found]
    undefined = statuses.count("undefined")
    said = ", ".join(f"{statuses.count(s)} {s}" for s in ("supported", "contradicted", "undecided"))
    return f"{said} of {len(found) - undefined} readings" + (f" ({undefined} more undefined)" if undefined else "")


def readings_of_claim(claim: str, found: Sequence[Reading]) -> Matrix:
    """Returns the table of all readings of one claim."""

    def row(reading: Reading) -> tuple[str, ...]:
        length = reading.correlation_length
        return (reading.mixing,) if math.isnan(length) else (reading.mixing, f"{length:g}")

    def column(reading: Reading) -> tuple[str, ...]:
        return LEVELS[reading.level], reading.centring, SHORT.get(reading.measure, reading.measure)

    squares = {
        (row(r), column(r)): Square(STATUSES[r.status][1], status=r.status, numbers=dataclasses.asdict(r))
        for r in found
    }
    known = dict.fromkeys(map(column, found))
    parts = [list(dict.fromkeys(part)) for part in zip(*known, strict=True)]
    across = [c for c in itertools.product(*parts) if c in known]
    defined = [r for r in found if r.status != "undefined"]
    ends = (min(defined, key=lambda r: r.mean), max(defined, key=lambda r: r.mean)) if defined else ()
    words = [f"{number_text(r.mean, r.low, r.high)} ({r.mixing}, {r.level}, {r.centring}, {r.measure})" for r in ends]
    said = f"statistic from {' to '.join(words)}" if words else "no reading is defined"
    return Matrix(f"{claim}: {counts_text(found)}", list(dict.fromkeys(map(row, found))), across, squares, said=said)


def robustness(results: Results) -> list[Figure]:
    """Returns the verdict of every reading of S1-i, S1-ii and S1-iii, one panel per claim; none without a reading."""
    found = readings(by_mixing_and_length(ended(claim_runs(results.dataset, results.config))))
    by_claim = {claim: [r for r in found if r.claim == claim] for claim in sorted({r.claim for r in found})}
    return [Figure(
        name="robustness", columns=1, share_x=False, share_y=False, wide=True,
        caption="Every claim in every reading. Rows: mixing and correlation length (S1-ii compares the shortest with "
        "the longest). Columns: rows of the measured matrix, centring, measure. A square is a t-test over runs of the "
        f"claim's statistic against its bound; the chance of any wrong decision within a claim is {ERROR_RATE:.0%} "
        "(Holm). A failed control leaves a square undecided; undefined is a reading without a statistic.",
        falsified_by=dict.fromkeys(by_claim, "a contradicted square, as a statement about every reading"),
        panels=[readings_of_claim(claim, mine) for claim, mine in by_claim.items()],
    )] if by_claim else []  # fmt: skip
