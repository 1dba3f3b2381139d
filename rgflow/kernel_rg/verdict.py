"""Every claim of this room, judged on the studies that a dataset holds.

* ``cases``, ``hmc``, ``data``: S4-sampler and S4-linear for each point; every other study of chains on linear networks:
  both for the study as a whole.
* ``width``: S4-width for each sigma2; ``depth``: S4-depth for each sigma2; ``size``: S4-size.
* ``relu``: S4-ReLU variance and S4-ReLU mean for each point; ``trained``: S4-trained and S4-MAP for each point.

Statistics, bounds and controls are in :mod:`~rgflow.kernel_rg.agreement`, :mod:`~rgflow.kernel_rg.statements` and
:mod:`~rgflow.kernel_rg.trained_verdict`. Chains that have not converged leave a claim undecided, also one against it.
"""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from rgflow.judging.claim import complete
from rgflow.kernel_rg import agreement, statements, trained_verdict
from rgflow.kernel_rg.summary import Summary, split_points, summarise
from rgflow.protocol import Verdict

Point = tuple[Summary, xr.Dataset]

EACH_POINT = ("cases", "hmc", "data")
"""Studies whose points are unlike each other, each judged by itself."""

CLAIMS: Mapping[str, tuple[str, str]] = {
    "S4-sampler": ("The chains sample the exact finite-width posterior.", "cases"),
    "S4-linear": ("The saddle-point theory describes the sampled network.", "cases"),
    "S4-width": ("Fewer units lower the variance if and only if r_0 is below sigma^(2L).", "width"),
    "S4-depth": ("Q approaches a limit with depth or grows without bound.", "depth"),
    "S4-size": ("The bias peaks where there are as many training points as inputs.", "size"),
    "S4-ReLU variance": ("The ReLU heuristic gives the predictive variance.", "relu"),
    "S4-ReLU mean": ("The ReLU heuristic gives the mean output.", "relu"),
    "S4-trained mean": ("Trained networks have the mean output of the equilibrium.", "trained"),
    "S4-trained variance": ("Trained networks have the predictive variance of the equilibrium.", "trained"),
    "S4-MAP": ("Training with weight decay ends in the minimum of the regularised energy.", "trained"),
}
"""Statement of every claim and the study that decides it, for sweeps that lack it."""


def place(point: Summary) -> str:
    """Returns what tells a point from the others of its study."""
    v = point.values
    parts = [f"N = {v['width']:g}", f"L = {v['depth']:g}", f"P = {v['num_train']:g}", f"sigma2 = {v['sigma2']:g}"]
    parts += [f"T = {v['temperature']:g}"]
    parts += [f"labels x {v['label_scale']:g}"] if v["study"] in ("relu", "trained") else []
    parts += [str(v["data"])] if v["study"] == "data" else []
    parts += [f"data set {v['data_seed']:g}"] if v["data_seed"] else []
    return f"{v['study']}: {', '.join(parts)}"


def by_sigma2(points: list[Summary]) -> dict[float, list[Summary]]:
    """Splits points by sigma2, increasing."""
    values = sorted({float(p.values["sigma2"]) for p in points})
    return {value: [p for p in points if p.values["sigma2"] == value] for value in values}


def _of_study(study: str, points: list[Point]) -> list[Verdict]:
    """Returns the verdicts on one study."""
    rows = [point for point, _ in points]
    if study == "relu":
        pairs = [
            (agreement.heuristic_variance(place(p), p), agreement.heuristic_mean(place(p), p, runs))
            for p, runs in points
        ]
        return [v for pair in pairs for v in pair]
    if study == "trained":
        return [v for p, runs in points for v in trained_verdict.judge(place(p), p, runs)]
    cells = [(place(p), [p]) for p in rows] if study in EACH_POINT else [(study, rows)]
    found = [
        judge(where, cell)
        for judge in (agreement.sampler_is_exact, agreement.saddle_describes)
        for where, cell in cells
    ]
    groups = {f"sigma2 = {value:g}": cell for value, cell in by_sigma2(rows).items()}
    if study == "width":
        found += [statements.sign_rule(name, cell) for name, cell in groups.items() if len(cell) > 1]
    if study == "depth":
        found += [statements.depth_limit(name, cell) for name, cell in groups.items() if len(cell) > 1]
    if study == "size":
        found.append(statements.bias_peaks(study, rows))
    return found


def verdict(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Judges every claim of the studies in the dataset; claims whose study is absent are not run."""
    del config  # what was run is in the dataset's coordinates
    studies: dict[str, list[Point]] = {}
    for values, runs in split_points(dataset):
        studies.setdefault(str(values["study"]), []).append((summarise(values, runs), runs))
    found = [v for study, points in studies.items() for v in _of_study(study, points)]
    return complete(found, CLAIMS)
