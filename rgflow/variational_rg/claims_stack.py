r"""Claims on trained stacks, judged for each strength of the penalty and coupling of the data.

* S3-c: receptive fields are local blocks that grow with depth. Statistic: ln of the median radius of the last layer
  over that of the first; supported above 0 if the fields are local (both radii below 3/4 of that of fields without a
  place), hold more than two sites (participation above 2), and copy single sites where nothing is correlated
  (participation below 1.5 on site-shuffled data at the same strength). Faint weights all over the lattice widen a
  radius without being part of a block: contradicted only if the participation does not grow either.
* S3-d coupling, S3-d length: the first hidden layer is a coarse-grained lattice. Statistic: its nearest-neighbour
  coupling (correlation length) over that of majorities of blocks of the data, less 1, both by the same estimator at the
  same places: the units are no regular lattice, which alone makes couplings smaller. Supported within 10 %.
* S3-model: the first machine left to itself has the lattice's energy. Statistic: $u/u_{exact} - 1$; supported within
  2 %, if the squared magnetization is that of the data within 0.1.

Every claim needs a machine that has learned: at least half of the relative entropy between the data and independent
fair spins. Bounds were set before any of it was run; that S3-d compares at the same places, that shrinking radii alone
contradict nothing, and the control of the magnetization came after a first run. Medians are over the units of a run
that have a field, intervals over runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from rgflow.judging.claim import Finding
from rgflow.judging.decisions import Control, Status, control, decide, equivalent, information
from rgflow.judging.intervals import Interval, bootstrap_interval
from rgflow.judging.points import Point, average
from rgflow.protocol import Results
from rgflow.variational_rg.select import control_of, place, real, stacks

LOCAL = 0.75
LEAST_PARTICIPATION = 2.0
MOST_SHUFFLED_PARTICIPATION = 1.5
SAME_LATTICE = 0.1
SAME_ENERGY = 0.02
SAME_ORDER = 0.1
FALSE_ALARM = 1e-4
"""Chance of finding free-running chains that started hot and from data apart, over all runs, if they are not."""

LEAST_LEARNED = 0.5


def unit_medians(values: Float[np.ndarray, "runs layer unit"]) -> Float[np.ndarray, "runs layer"]:
    """Returns the median over the units of every layer that have a field; NaN where none has."""
    rows = values.reshape(-1, values.shape[-1])
    middle = [np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in rows]
    return np.array(middle).reshape(values.shape[:-1])


def growth(point: Point, name: str = "radius") -> np.ndarray:
    """Returns ln of the median of a record over the units of the last layer over that of the first, per run."""
    medians = unit_medians(point.last(name))
    return np.log(medians[:, -1] / medians[:, 0])


def relative_entropy_per_site(point: Point) -> np.ndarray:
    r"""Returns $\frac1N [\langle\ln P\rangle - \langle\ln p_\lambda\rangle]$ over test samples, in nats, per run.

    $\ln P = -K N u - \ln Z_K$ with Kaufman's $Z_K$; $\ln p = -F - \ln Z_\lambda$ with the annealed $Z_\lambda$.
    """
    return _log_data_per_site(point) + (point.last("test_free_energy") + point.last("log_partition")) / _sites(point)


def learned_share(point: Point) -> np.ndarray:
    r"""Returns $1 - D(P\,|\,p_\lambda)/D(P\,|\,\mathrm{fair})$ of the first machine, per run; 0: fair spins."""
    return 1 - relative_entropy_per_site(point) / (_log_data_per_site(point) + np.log(2))


def _sites(point: Point) -> float:
    return float(point.values["size"]) ** 2


def _log_data_per_site(point: Point) -> np.ndarray:
    return -float(point.values["coupling"]) * point.last("data_energy") - point.last("kaufman_log_partition") / _sites(
        point
    )


def _learned(point: Point) -> dict[str, Control]:
    low = bootstrap_interval(learned_share(point)).low
    need = f"lower end of the share of the relative entropy that was learned at least {LEAST_LEARNED}"
    return {"learned": control(low, need, low >= LEAST_LEARNED)}


def _participation(point: Point | None, layer: slice | int = slice(None)) -> float:
    if point is None:
        return float("nan")
    return average(np.min(unit_medians(point.last("participation"))[:, layer].reshape(point.live.sizes["run"], -1), 1))


def _isotropy(point: Point | None) -> float:
    """Returns the mean ratio of the extents of first-layer fields down a column of sites and along a row."""
    if point is None:
        return float("nan")
    extents = [unit_medians(point.last("extent")[..., axis])[:, 0] for axis in (0, 1)]
    return average(extents[0] / extents[1])


def _field_controls(point: Point, others: Sequence[Point]) -> dict[str, Control]:
    radius = unit_medians(point.last("radius")) / point.last("random_radius")[:, None]
    widest, least = average(np.max(radius, axis=1)), _participation(point)
    shuffled, rows = control_of(point, others, "sites"), control_of(point, others, "bonds")
    noise = _participation(shuffled, 0)
    return {
        **_learned(point),
        "local": control(widest, f"radius of every layer below {LOCAL} of fields without a place", widest < LOCAL),
        "participation": control(least, f"sites in a field above {LEAST_PARTICIPATION:g}", least > LEAST_PARTICIPATION),
        "shuffled": control(
            noise,
            f"sites in a field on site-shuffled data below {MOST_SHUFFLED_PARTICIPATION}",
            noise < MOST_SHUFFLED_PARTICIPATION,
        ),
        "participation_growth": information(
            average(growth(point, "participation")), "ln of the median participation in the last layer over the first"
        ),
        "shuffled_growth": information(
            average(growth(shuffled)) if shuffled else np.nan, "the same growth on site-shuffled data"
        ),
        "isotropy": information(_isotropy(point), "extent of first-layer fields across rows over that along them"),
        "isotropy_rows": information(_isotropy(rows), "the same on data whose rows are independent"),
        "coherence": information(average(point.last("coherence")[:, 0]), "|sum w| / sum |w| of first-layer fields"),
        "tiling": information(
            average(point.last("tiling")[:, 0]), "Clark-Evans ratio of first-layer centres, random 1"
        ),
        "dead_units": information(average(point.last("dead_units")), "share of units without a field"),
        "components": information(
            average(point.last("component_radius")[:, 0] / point.last("random_radius")),
            "relative radius of as many principal components",
        ),
    }


def fields_grow(results: Results) -> Iterator[Finding]:
    """Yields the growth of the fields from the first to the last layer (S3-c) at every point of real data."""
    for point in real(results.once(stacks)):
        interval = bootstrap_interval(growth(point))
        controls = _field_controls(point, results.once(stacks))
        # Fields that grow but are no blocks support nothing; fields that shrink by both measures contradict whatever
        # they are, once learned.
        status = decide(interval, 0.0, "above", {name: c["passed"] for name, c in controls.items()})
        shrink = bootstrap_interval(growth(point, "participation")).high < 0
        if status == "contradicted" and not (shrink and controls["learned"]["passed"]):
            status = "undecided"
        yield _finding(point, interval, status, controls)


def _finding(point: Point, interval: Interval, status: Status, controls: dict[str, Control]) -> Finding:
    return Finding(place(point.values), interval, status, (point.runs, point.dead), controls)


def coarse_grained(results: Results, measure: str) -> Iterator[Finding]:
    """Yields the coupling or length of the first hidden layer over that of a coarse-grained lattice, less 1 (S3-d)."""
    return (_coarse_grained(point, measure) for point in real(results.once(stacks)))


def _coarse_grained(point: Point, measure: str) -> Finding:
    ratio = {rule: point.last(f"hidden_{measure}") / point.last(f"{rule}_{measure}") - 1
             for rule in ("placed", "majority", "decimation")}  # fmt: skip
    interval = bootstrap_interval(ratio["placed"][:, 0])
    controls = {
        **_learned(point),
        # The sampler itself refuses data whose hot and cold starts are 3 errors apart.
        "data": information(
            average(point.last("data_start_deviation")), "errors between hot and cold start of the data"
        ),
        "hidden": information(average(point.last(f"hidden_{measure}")[:, 0]), "of the first hidden layer"),
        "placed": information(average(point.last(f"placed_{measure}")[:, 0]), "of majorities at the units' places"),
        "majority": information(average(point.last(f"majority_{measure}")[:, 0]), "of the majority rule"),
        "decimation": information(average(point.last(f"decimation_{measure}")[:, 0]), "of decimated data"),
        "lattice": information(average(point.last(f"data_{measure}")), "of the data themselves"),
        "last_layer": information(average(ratio["placed"][:, -1]), "the same for the last layer"),
    }
    return _finding(point, interval, equivalent(interval, SAME_LATTICE, controls), controls)


def model_energy(results: Results) -> Iterator[Finding]:
    """Yields the energy of the first machine's own chains over Kaufman's, less 1 (S3-model)."""
    return map(_model_energy, real(results.once(stacks)))


def _model_energy(point: Point) -> Finding:
    energy, error = point.last("model_energy"), point.last("model_energy_error")
    interval = bootstrap_interval(energy.mean(axis=1) / point.last("kaufman_energy") - 1)
    apart = np.abs(energy[:, 0] - energy[:, 1]) / np.hypot(error[:, 0], error[:, 1])
    # Over all runs together: a bound for single runs would leave room for all of them to be apart by as much.
    together = float(np.sqrt(np.mean(apart**2))) if apart.size else np.nan
    most = float(np.sqrt(stats.chi2.isf(FALSE_ALARM, max(apart.size, 1)) / max(apart.size, 1)))
    order = average(point.last("model_squared_magnetization").mean(axis=1) - point.last("data_squared_magnetization"))
    controls = {
        **_learned(point),
        "starts": control(
            together, f"hot chains and those from data within {most:.2f} errors, rms over runs", together < most
        ),
        "order": control(
            order, f"squared magnetization within {SAME_ORDER} of that of the data", abs(order) < SAME_ORDER
        ),
        "magnetization": information(
            average(np.abs(point.last("model_magnetization")).mean(axis=1)),
            "|m| of the chains: far from 0 where the machine has chosen a sign",
        ),
        "relative_entropy": information(average(relative_entropy_per_site(point)), "per site in nats, by annealing"),
        "relative_entropy_error": information(
            average(point.last("log_partition_error")) / _sites(point), "error of the annealed ln Z per site"
        ),
        "effective_chains": information(average(point.last("effective_chains")), "chains that carry the annealed ln Z"),
        "reconstruction": information(
            average(point.last("reconstruction_error")[:, 0]), "wrong spins after one layer up and down"
        ),
        "components": information(
            average(point.last("component_error")[:, 0]), "wrong spins after as many principal components"
        ),
    }
    return _finding(point, interval, equivalent(interval, SAME_ENERGY, controls), controls)
