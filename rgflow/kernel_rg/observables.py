r"""The observables of a point: its chains (or trainings) pooled to numbers with error bars, beside what theories say.

* ``scale`` Q, ``order_parameter`` $u_0 = Q^{1/L}$, ``energy``, ``kernel_projection_l`` and ``kernel_trace_l`` of every
  layer l;
* ``variance`` $\overline{\langle f^2 \rangle - \langle f \rangle^2}$, ``bias`` $\overline{(\langle f \rangle - y)^2}$
  and ``error``, their sum; bars are means over test points.

Variance and bias are not means over draws. Their errors are those of their linearisation, whose mean they are: a draw
counts $\overline{f^2 - 2 m f + m^2}$ and $\overline{(m - y)^2 + 2 (m - y)(f - m)}$, m the mean over all draws. The
noise of m, known from the spread between chains, is added to the first and subtracted from the second, which leaves
neither biased.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.convergence import LEAST_DRAWS, Estimate, estimate
from rgflow.judging.decisions import Control, control, interval_of
from rgflow.judging.intervals import Interval

WORST_R_HAT = 1.05
LEAST_ESS = 100.0
"""Worst split R-hat and least effective sample size, in batches of sweeps, of a point that is judged."""

FALSE_ALARM_SIGMA = 4.0
"""Standard errors between a sampled mean and an exact value that count as a contradiction."""

CLOSE = 0.15
"""Largest relative difference of networks that are described by a heuristic, or by the equilibrium."""


class Pooled(NamedTuple):
    """One point: its coordinates, live and dead runs, estimates by observable, and theory by name and observable.

    ``records`` are those of all its runs, dead ones too.
    """

    values: Mapping[str, Any]
    runs: int
    dead: int
    measured: Mapping[str, Estimate]
    theory: Mapping[str, Mapping[str, float]]
    label_norm: float
    load: float
    coexistence: bool
    records: xr.Dataset

    @property
    def worst(self) -> tuple[float, float]:
        """The largest R-hat and the smallest effective sample size over observables (NaN where there is none)."""
        found = list(self.measured.values())
        return float(np.max([e.r_hat for e in found])), float(np.min([e.ess for e in found]))


def kept_steps(values: Mapping[str, Any]) -> list[int]:
    """Returns the steps whose records count: of a chain all after burn-in, of a training the last one.

    >>> kept_steps({"sampler": "gibbs", "steps": 30, "burn_in": 10, "records": 2})
    [20, 30]
    """
    steps, burn_in = int(values["steps"]), int(values["burn_in"])
    if values["sampler"] == "trained":
        return [steps]
    return list(range(burn_in, steps + 1, (steps - burn_in) // int(values["records"])))[1:]


def linearised(
    prediction: Float[np.ndarray, "chains draws tests"],
    square: Float[np.ndarray, "chains draws tests"],
    truth: Float[np.ndarray, " tests"],
) -> dict[str, Float[np.ndarray, "chains draws"]]:
    """Returns a series for each of variance, bias and error whose mean is its value; dead chains do not count."""
    live = prediction[np.isfinite(prediction).all(axis=(1, 2))]
    mean = live.mean(axis=(0, 1)) if len(live) else np.full(truth.shape, np.nan)
    noise = float((live.mean(axis=1).var(axis=0, ddof=1) / len(live)).mean()) if len(live) > 1 else 0.0
    return {
        "variance": (square - 2 * mean * prediction + mean**2).mean(axis=-1) + noise,
        "bias": ((mean - truth) ** 2 + 2 * (mean - truth) * (prediction - mean)).mean(axis=-1) - noise,
        "error": (square - 2 * prediction * truth + truth**2).mean(axis=-1),
    }


def root(value: float, degree: float) -> float:
    """Returns a root; NaN of what has none.

    >>> root(9.0, 2.0), root(-1.0, 2.0)
    (3.0, nan)
    """
    return float(value ** (1 / degree)) if value >= 0 else float("nan")


def order_parameter(scale: Estimate, depth: float) -> Estimate:
    r"""Returns the estimate of $u_0 = Q^{1/L}$ from that of Q, its error to first order."""
    mean = root(scale.mean, depth)
    return scale._replace(mean=mean, error=mean * scale.error / (depth * scale.mean) if scale.mean else np.nan)


def series(values: Mapping[str, Any], runs: xr.Dataset) -> dict[str, Float[np.ndarray, "chains draws"]]:
    """Returns every observable of a point as [chains, draws]; of trainings, draws are the runs and there is one row."""
    kept = runs.sel(step=kept_steps(values))
    arrays = {name: np.asarray(kept[name].values, np.float64) for name in ("scale", "energy")}
    for kind in ("kernel_projection", "kernel_trace"):
        layers = np.asarray(kept[kind].values, np.float64)
        arrays |= {f"{kind}_{k + 1}": layers[..., k] for k in range(int(values["depth"]))}
    prediction, square = (np.asarray(kept[n].values, np.float64) for n in ("prediction", "prediction_square"))
    arrays |= linearised(prediction, square, runs["test_targets"].values[0])
    if values["activation"] != "linear":
        del arrays["scale"]
    return {name: x.T if values["sampler"] == "trained" else x for name, x in arrays.items()}


def mean_and_error(draws: Float[np.ndarray, "chains draws"], independent: bool) -> Estimate:
    """Returns the estimate of a chain's series, or of independent runs in one row, NaN where there are too few."""
    if not independent:
        return estimate(draws)
    live = draws[np.isfinite(draws)]
    if live.size < LEAST_DRAWS:
        return Estimate(np.nan, np.nan, np.nan, float(live.size))
    return Estimate(float(live.mean()), float(live.std(ddof=1) / np.sqrt(live.size)), 1.0, float(live.size))


def theory_values(values: Mapping[str, Any], run: xr.Dataset) -> dict[str, dict[str, float]]:
    """Returns what each theory says of each observable, from one run of a point; NaN where it says nothing."""
    found, depth = {}, int(values["depth"])
    truth = run["test_targets"].values
    for name in run["theory"].values.tolist():
        one = run.sel(theory=name)
        scale, variance = float(one["theory_scale"]), float(one["theory_variance"].mean(skipna=False))
        bias = float(np.mean((one["theory_mean"].values - truth) ** 2))
        found[name] = {"scale": scale, "energy": float(one["theory_energy"])}
        found[name]["order_parameter"] = root(scale, float(depth))
        found[name] |= {"variance": variance, "bias": bias, "error": bias + variance}
        for layer in range(depth):
            for kind in ("kernel_projection", "kernel_trace"):
                found[name][f"{kind}_{layer + 1}"] = float(one[f"theory_{kind}"][layer])
    return found


def pool(values: Mapping[str, Any], runs: xr.Dataset) -> Pooled:
    """Returns a point with its runs pooled."""
    dead = int((runs["died_at"] >= 0).sum())
    independent = values["sampler"] == "trained"
    measured = {name: mean_and_error(x, independent) for name, x in series(values, runs).items()}
    if "scale" in measured:
        measured["order_parameter"] = order_parameter(measured["scale"], float(values["depth"]))
    first = runs.isel(run=0)
    return Pooled(
        values=values,
        runs=runs.sizes["run"] - dead,
        dead=dead,
        measured=measured,
        theory=theory_values(values, first),
        label_norm=float(first["label_norm"]),
        load=float(first["load"]),
        coexistence=bool(first["coexistence"] > 0),
        records=runs,
    )


def relative_error(expected: float, measured: Estimate) -> Estimate:
    """Returns the relative error of a theory, its value over the measured one less 1; NaN where that is zero."""
    if measured.mean**2 == 0:
        return Estimate(np.nan, np.nan, np.nan, np.nan)
    return Estimate(expected / measured.mean - 1, expected * measured.error / measured.mean**2, np.nan, np.nan)


def mean_distance(point: Pooled, theory: str) -> Interval:
    r"""Returns how far the mean output is from a theory's, $\overline{(\langle f \rangle - \mu)^2}^{1/2}$ at the tests.

    It is in units of the theory's own size $\overline{\mu^2}^{1/2}$; NaN where that is zero, which is no unit. Noise
    can make the estimate of the square negative: that counts as zero.
    """
    values, independent = point.values, point.values["sampler"] == "trained"
    expected = point.records["theory_mean"].sel(theory=theory).values[0]
    kept = point.records.sel(step=kept_steps(values))["prediction"].values.astype(np.float64)
    bias = linearised(kept, kept**2, expected)["bias"]
    found, unit = mean_and_error(bias.T if independent else bias, independent), float(np.mean(expected**2)) or np.nan
    square = interval_of(Estimate(found.mean / unit, found.error / unit, found.r_hat, found.ess), point.runs)
    mean, low, high = (float(np.sqrt(max(x, 0.0))) if np.isfinite(x) else np.nan for x in square[:3])
    return Interval(mean, low, high, point.runs)


def convergence(points: Sequence[Pooled]) -> dict[str, Control]:
    """Returns the controls that every claim on chains shares: the worst split R-hat and effective sample size."""
    chains = [p for p in points if p.values["sampler"] != "trained"]
    if not chains:
        return {}
    # A NaN (no live chain) must fail, so it may not be passed over.
    r_hat = float(np.max([p.worst[0] for p in chains]))
    size = float(np.min([p.worst[1] for p in chains]))
    return {
        "r_hat": control(r_hat, f"split R-hat of every observable at most {WORST_R_HAT}", r_hat <= WORST_R_HAT),
        "ess": control(size, f"effective batches of every observable at least {LEAST_ESS:g}", size >= LEAST_ESS),
    }
