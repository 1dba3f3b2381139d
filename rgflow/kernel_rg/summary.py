r"""From records to numbers with error bars: one row per point, its runs pooled, beside what every theory says.

A point is what all its runs share: every coordinate of a run but its seed. Observables of a point:

* ``scale``, ``energy``, ``kernel_projection_l`` and ``kernel_trace_l`` of every layer l;
* ``variance`` $\overline{\langle f^2 \rangle - \langle f \rangle^2}$, ``bias`` $\overline{(\langle f \rangle - y)^2}$
  and ``error``, their sum; bars are means over test points.

Variance and bias are not means over draws. Their errors are those of their linearisation, whose mean they are: a draw
counts $\overline{f^2 - 2 m f + m^2}$ and $\overline{(m - y)^2 + 2 (m - y)(f - m)}$, m the mean over all draws. The
noise of m, known from the spread between chains, is added to the first and subtracted from the second, which leaves
neither biased.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rgflow.judging.convergence import LEAST_DRAWS, Estimate, estimate

WORST_R_HAT = 1.05
LEAST_ESS = 100.0
"""Worst split R-hat and least effective sample size, in batches of sweeps, of a point that is judged."""


class Summary(NamedTuple):
    """One point: its coordinates, live and dead runs, estimates by observable, and theory by name and observable."""

    values: Mapping[str, Any]
    runs: int
    dead: int
    measured: Mapping[str, Estimate]
    theory: Mapping[str, Mapping[str, float]]
    label_norm: float
    load: float
    coexistence: bool

    @property
    def converged(self) -> bool:
        """Whether every observable of the chains has a small R-hat and enough effective draws."""
        judged = [e for name, e in self.measured.items() if not name.startswith("kernel_trace")]
        return all(e.r_hat <= WORST_R_HAT and e.ess >= LEAST_ESS for e in judged)

    @property
    def worst(self) -> tuple[float, float]:
        """The largest R-hat and the smallest effective sample size over observables (NaN where there is none)."""
        found = list(self.measured.values())
        return float(np.max([e.r_hat for e in found])), float(np.min([e.ess for e in found]))


def point_names(dataset: xr.Dataset) -> list[str]:
    """Returns the coordinates that make a point: those along ``run`` but the seed."""
    return sorted(str(n) for n, c in dataset.coords.items() if c.dims == ("run",) and n not in ("seed", "run"))


def split_points(dataset: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Yields (values, runs) of every point, in the order in which they first appear."""
    names = point_names(dataset)
    columns = [dataset[name].values.tolist() for name in names]
    members: dict[tuple, list[int]] = {}
    for place, row in enumerate(zip(*columns, strict=True)):
        members.setdefault(row, []).append(place)
    for row, places in members.items():
        yield dict(zip(names, row, strict=True)), dataset.isel(run=places)


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
    found = {}
    truth = run["test_targets"].values
    for name in run["theory"].values.tolist():
        one = run.sel(theory=name)
        variance = float(one["theory_variance"].mean(skipna=False))
        bias = float(np.mean((one["theory_mean"].values - truth) ** 2))
        found[name] = {"scale": float(one["theory_scale"]), "energy": float(one["theory_energy"])}
        found[name] |= {"variance": variance, "bias": bias, "error": bias + variance}
        for layer in range(int(values["depth"])):
            for kind in ("kernel_projection", "kernel_trace"):
                found[name][f"{kind}_{layer + 1}"] = float(one[f"theory_{kind}"][layer])
    return found


def summarise(values: Mapping[str, Any], runs: xr.Dataset) -> Summary:
    """Returns the row of one point."""
    dead = int((runs["died_at"] >= 0).sum())
    independent = values["sampler"] == "trained"
    measured = {name: mean_and_error(x, independent) for name, x in series(values, runs).items()}
    first = runs.isel(run=0)
    return Summary(
        values=values,
        runs=runs.sizes["run"] - dead,
        dead=dead,
        measured=measured,
        theory=theory_values(values, first),
        label_norm=float(first["label_norm"]),
        load=float(first["load"]),
        coexistence=bool(first["coexistence"] > 0),
    )


def summaries(dataset: xr.Dataset) -> list[Summary]:
    """Returns the row of every point, in the order of the dataset."""
    return [summarise(values, runs) for values, runs in split_points(dataset)]


def mean_distance(values: Mapping[str, Any], runs: xr.Dataset, theory: str) -> Estimate:
    r"""Returns $\overline{(\langle f \rangle - \mu)^2} / \overline{\mu^2}$ at the tests, $\mu$ a theory's mean."""
    expected = runs["theory_mean"].sel(theory=theory).values[0]
    kept = runs.sel(step=kept_steps(values))["prediction"].values.astype(np.float64)
    independent = values["sampler"] == "trained"
    bias = linearised(kept, kept**2, expected)["bias"]
    found = mean_and_error(bias.T if independent else bias, independent)
    unit = float(np.mean(expected**2))
    return Estimate(found.mean / unit, found.error / unit, found.r_hat, found.ess)
