r"""Is the fall of the rank owed to the order of the data? The claim S1-i beside data without that order (ours).

S1-data: training makes the rank fall further on the chain than on the same task without its correlations (labels drawn
at random, time shuffled, independent tokens of the same marginals). Statistic: $\Delta - \Delta_{control}$ with
$\Delta = \overline{\ln R_{trained}} - \overline{\ln R_{untrained}}$; supported below 0, contradicted above. A network
that coarse-grains its data has something to integrate out only where the data have scales; one whose rank falls as far
without them does something else.
"""

from typing import Any

import xarray as xr

from rgflow.judging.decisions import information
from rgflow.judging.intervals import t_difference
from rgflow.judging.points import average
from rgflow.protocol import Verdict
from rgflow.rank_flow import claims
from rgflow.rank_flow.select import by_mixing_and_length, claim_runs, control_runs

CLAIM = "S1-data"
STATEMENT = "The rank falls because of the order of the data: further than on data without it."
EXPECTED = "ln R(trained) - ln R(untrained) on the chain less the same under the control below 0"
ORDERLESS = ("random_labels", "time_shuffled", "iid")


def owed_to_order(runs: xr.Dataset, without: xr.Dataset, name: str) -> Verdict:
    """Judges S1-data on the runs of one mixing and length beside those under one control."""
    reading = claims.reading_of(runs)
    change, change_without = (claims.ratio_change(x, reading) for x in (runs, without))
    trained = claims.training_controls(claims.final(without))["converged"]
    controls = {
        **claims.training_controls(claims.final(runs)),
        "control_trained": {**trained, "requirement": f"under the control: {trained['requirement']}"},
        "change": information(average(change), "ln R(trained) - ln R(untrained) on the chain"),
        name: information(average(change_without), "the same under the control"),
    }
    rule = (t_difference(change, change_without), 0.0, "below")
    return claims.judged(CLAIM, xr.concat([runs, without], "run"), STATEMENT, EXPECTED, rule, controls)


def verdicts(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Judges S1-data for each mixing, length and control that the sweep has."""
    cells = by_mixing_and_length(claim_runs(dataset, config))
    found = []
    for name, runs in control_runs(dataset, config).items():
        for mixing, at in by_mixing_and_length(runs).items() if name in ORDERLESS else ():
            pairs = [(x, cells[mixing][x], without) for x, without in at.items() if x in cells.get(mixing, {})]
            found += [claims.named(owed_to_order(own, without, name), mixing, f"length {x:g}", name)
                      for x, own, without in pairs]  # fmt: skip
    return found
