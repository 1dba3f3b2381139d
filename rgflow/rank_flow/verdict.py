"""Every verdict of the room: the claims as published, in every reading, at other settings, against controls.

The claims themselves, each with its statistic, controls and decision rule: :mod:`rgflow.rank_flow.claims` (HR2026),
:mod:`rgflow.rank_flow.attention` (HR2026b), :mod:`rgflow.rank_flow.order`, :mod:`rgflow.rank_flow.modes` and
:mod:`rgflow.rank_flow.blocks` (ours).
"""

from typing import Any

import xarray as xr

from rgflow.judging.claim import not_run
from rgflow.protocol import Verdict
from rgflow.rank_flow import attention, blocks, claims, modes, order, robustness, settings
from rgflow.rank_flow.select import by_mixing_and_length, claim_runs

OF_ATTENTION = "needs sweep.mixing=attention beside an MLP, at two correlation lengths"
LACKING = {
    "S1-i": (robustness.STATEMENTS["S1-i"], "needs the runs of the study 'claims'"),
    "S1-ii": (robustness.STATEMENTS["S1-ii"], "needs the runs of the study 'claims'"),
    "S1-iii": (robustness.STATEMENTS["S1-iii"], "needs the runs of the study 'claims'"),
    order.CLAIM: (order.STATEMENT, "needs the runs of the study 'controls' beside those of 'claims'"),
    modes.CLAIM: (modes.STATEMENT, "needs the runs of the study 'claims'"),
    blocks.CLAIM: (blocks.STATEMENT, "needs the runs of the study 'blocks', at two numbers of groups"),
    "S1b-loss": (attention.TEXTS["lower"][0], OF_ATTENTION),
    "S1b-rank": (attention.TEXTS["rank"][0], OF_ATTENTION),
    "S1b-decay": (attention.TEXTS["decay"][0], OF_ATTENTION),
}
"""The claims in their order: what each says, and what a sweep needs to judge it."""


def claim_of(verdict: Verdict) -> str:
    """Returns the claim of a verdict without its place."""
    return verdict.claim.partition(" [")[0]


def verdict(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Returns the verdicts that the runs of a sweep allow, by claim, and "not run" for the claims they lack."""
    cells = by_mixing_and_length(claim_runs(dataset, config))
    found = [
        *claims.in_cells(cells),
        *robustness.summaries(robustness.readings(cells)),
        *order.verdicts(dataset, config),
        *modes.verdicts(cells),
        *blocks.verdicts(dataset, config),
        *settings.verdicts(dataset, config),
        *attention.verdicts(cells, config),
    ]
    absent = LACKING.keys() - {claim_of(v) for v in found}
    found += [not_run(claim, *LACKING[claim]) for claim in absent]
    places = list(LACKING)
    return sorted(found, key=lambda v: places.index(claim_of(v)))
