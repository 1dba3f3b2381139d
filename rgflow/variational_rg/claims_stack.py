r"""Claims on trained stacks, judged for each strength of the penalty and coupling of the data.

Each is made of components (:mod:`rgflow.judging.components`): means over runs beside a bound, all of which must hold.
One that is shown to fail contradicts the claim.

* S3-c: receptive fields are local blocks that grow with depth. Components: ln of the median radius of the last layer
  over that of the first is above 0; the widest layer's radius is below 3/4 of that of fields without a place; the least
  layer's fields hold more than two sites. Faint weights all over the lattice widen a radius without being part of a
  block: against the growth speaks only a participation that shrinks as well. Control: first-layer fields on
  site-shuffled data at the same strength, where nothing is correlated, hold fewer than 1.5 sites. Where they hold more,
  the fields are not owed to the data, and nothing is decided in either direction. (This was written as a part of the
  claim and made a control after a look at what it did; as a part it stands in a row.)
* S3-d coupling, S3-d length: the first hidden layer is a coarse-grained lattice. Component: its nearest-neighbour
  coupling (correlation length) over that of majorities of blocks of the data, less 1, is within 10 %, both by the same
  estimator at the same places: the units are no regular lattice, which alone makes couplings smaller.
* S3-model: the first machine left to itself has the lattice's energy and order. Components: $u/u_{exact} - 1$ is within
  2 %, and the squared magnetization within 0.1 of that of the data. Chains that started hot and from data and are still
  apart decide nothing, in either direction.

How much a machine has learned, as a share of the relative entropy between the data and independent fair spins, decides
nothing: it is a number for information, and the verdict on the runs that learned half of it is a row. A live run
without a number (a layer without fields) counts as a dead one. Bounds were set before any of it was run; that S3-d
compares at the same places, that shrinking radii alone contradict nothing, and the order of S3-model came after a first
run. Medians are over the units of a run that have a field.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from rgflow.judging.claim import Finding, ruled
from rgflow.judging.components import Component, Side, contrast, guarded_interval
from rgflow.judging.decisions import Control, control, information
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
    shares = learned_share(point)
    return {
        "learned": information(average(shares), "share of the relative entropy to fair spins that was learned"),
        "learned_low": information(guarded_interval(contrast(shares)).low, "lower end of its 95 % interval over runs"),
    }


Parts = tuple[Component, ...]
Keep = slice | Bool[np.ndarray, " runs"]
ALL = slice(None)


def _part(name: str, values: Float[np.ndarray, " runs"], side: Side, bound: float, dead: int) -> Component:
    """Returns a component; live runs without a number are lost as the dead ones are."""
    known = np.isfinite(values)
    lost = dead + int((~known).sum()) if known.any() else 0
    return Component(name, (values[known],), side, bound, dead=(lost,))


def _learned_rows(point: Point, parts: Callable[[Keep], Parts]) -> dict[str, Parts]:
    """Returns a claim on the runs that learned half alone, where these are some of the live ones."""
    keep = learned_share(point) >= LEAST_LEARNED
    some = bool(keep.any() and not keep.all())
    return {f"runs that learned half only: {keep.sum()} of {keep.size}": parts(keep)} if some else {}


@dataclasses.dataclass(frozen=True, eq=False)
class Growth(Component):
    """The growth of the radius; against it speaks only a growth of the participation below its bound as well."""

    sites: Component = dataclasses.field(kw_only=True)

    def p_against(self, fill: bool = False) -> float:
        """Returns the p-value against both growths, the larger one of the two."""
        return float(np.max([super().p_against(fill), self.sites.p_against(fill)]))


def _participation(point: Point, layer: slice | int = ALL) -> Float[np.ndarray, " runs"]:
    """Returns the least median number of sites in a field over some layers, per run."""
    return np.min(unit_medians(point.last("participation"))[:, layer].reshape(point.live.sizes["run"], -1), 1)


def _isotropy(point: Point | None) -> float:
    """Returns the mean ratio of the extents of first-layer fields down a column of sites and along a row."""
    if point is None:
        return float("nan")
    extents = [unit_medians(point.last("extent")[..., axis])[:, 0] for axis in (0, 1)]
    return average(extents[0] / extents[1])


def _field_numbers(point: Point, others: Sequence[Point]) -> dict[str, Control]:
    shuffled, rows = control_of(point, others, "sites"), control_of(point, others, "bonds")
    return {
        **_learned(point),
        "shuffled": _shuffled(shuffled),
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


def _shuffled(shuffled: Point | None) -> Control:
    sites = average(_participation(shuffled, 0)) if shuffled else np.nan
    need = f"sites in a field on site-shuffled data below {MOST_SHUFFLED_PARTICIPATION}"
    return control(sites, need, sites < MOST_SHUFFLED_PARTICIPATION)


def _growths(point: Point, keep: Keep, dead: int) -> Parts:
    names = {"radius": "growth of the radius", "participation": "growth of the participation"}
    return tuple(_part(text, growth(point, name)[keep], "above", 0.0, dead) for name, text in names.items())


def _blocks(point: Point, keep: Keep = ALL, dead: int = 0) -> Parts:
    """Returns the parts of S3-c but for the growth: local fields, of several sites."""
    widest = np.max(unit_medians(point.last("radius")) / point.last("random_radius")[:, None], axis=1)
    return (
        _part("radius / that of fields without a place", widest[keep], "below", LOCAL, dead),
        _part("sites in a field", _participation(point)[keep], "above", LEAST_PARTICIPATION, dead),
    )


def _noise(shuffled: Point | None) -> Parts:
    """Returns the control on shuffled data as if it were a part of the claim."""
    noise, lost = (_participation(shuffled, 0), shuffled.dead) if shuffled else (np.array([]), 0)
    return (_part("sites in a field on site-shuffled data", noise, "below", MOST_SHUFFLED_PARTICIPATION, lost),)


def _grow(point: Point, keep: Keep = ALL, dead: int = 0) -> Parts:
    """Returns the parts of S3-c."""
    radius, sites = _growths(point, keep, dead)
    grows = Growth(radius.name, radius.groups, radius.side, radius.bound, dead=radius.dead, sites=sites)
    return (grows, *_blocks(point, keep, dead))


def fields_grow(results: Results) -> Iterator[Finding]:
    """Yields the growth of the fields from the first to the last layer (S3-c) at every point of real data."""
    others = results.once(stacks)
    for point in real(others):
        shuffled = control_of(point, others, "sites")
        parts = _grow(point, dead=point.dead)
        rows = {
            "radius and participation grow, each by itself": (*_growths(point, ALL, 0), *_blocks(point)),
            "with the shuffled data as a part": (*parts, *_noise(shuffled)),
            "without the shuffled data": parts,
            **_learned_rows(point, lambda keep, p=point: _grow(p, keep)),
        }
        yield _finding(point, parts, _field_numbers(point, others), rows)


def _finding(point: Point, parts: Parts, controls: dict[str, Control], rows: dict[str, Parts]) -> Finding:
    return ruled(place(point.values), parts, (point.runs, point.dead), controls, rows)


def coarse_grained(results: Results, measure: str) -> Iterator[Finding]:
    """Yields the coupling or length of the first hidden layer over that of a coarse-grained lattice, less 1 (S3-d)."""
    return (_coarse_grained(point, measure) for point in real(results.once(stacks)))


def _coarse_grained(point: Point, measure: str) -> Finding:
    ratio = {rule: point.last(f"hidden_{measure}") / point.last(f"{rule}_{measure}") - 1
             for rule in ("placed", "majority", "decimation")}  # fmt: skip

    def parts(keep: Keep = ALL, dead: int = 0) -> Parts:
        name = f"{measure.replace('_', ' ')} / that of block majorities - 1"
        return (_part(name, ratio["placed"][keep, 0], "within", SAME_LATTICE, dead),)

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
    return _finding(point, parts(dead=point.dead), controls, _learned_rows(point, parts))


def model_energy(results: Results) -> Iterator[Finding]:
    """Yields the energy of the first machine's own chains over Kaufman's, less 1, beside their order (S3-model)."""
    return map(_model_energy, real(results.once(stacks)))


def _model_energy(point: Point) -> Finding:
    energy, error = point.last("model_energy"), point.last("model_energy_error")
    relative = energy.mean(axis=1) / point.last("kaufman_energy") - 1
    order = point.last("model_squared_magnetization").mean(axis=1) - point.last("data_squared_magnetization")

    def parts(keep: Keep = ALL, dead: int = 0) -> Parts:
        return (
            _part("energy / Kaufman's - 1", relative[keep], "within", SAME_ENERGY, dead),
            _part("squared magnetization less that of the data", order[keep], "within", SAME_ORDER, dead),
        )

    apart = np.abs(energy[:, 0] - energy[:, 1]) / np.hypot(error[:, 0], error[:, 1])
    # Over all runs together: a bound for single runs would leave room for all of them to be apart by as much.
    together = float(np.sqrt(np.mean(apart**2))) if apart.size else np.nan
    most = float(np.sqrt(stats.chi2.isf(FALSE_ALARM, max(apart.size, 1)) / max(apart.size, 1)))
    controls = {
        **_learned(point),
        "starts": control(
            together, f"hot chains and those from data within {most:.2f} errors, rms over runs", together < most
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
    rows = {"the energy alone": parts()[:1], **_learned_rows(point, parts)}
    return _finding(point, parts(dead=point.dead), controls, rows)
