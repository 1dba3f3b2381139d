"""Field rings against traces of their transfer operator in float64 and the circulant closed form.

Fixed keys. Every comparison of a mean is two-sided with false-alarm rate 6e-5 (four sigma; for all pairs of a ring
together 1e-4), every test of a whole law has 1e-4. Nearby wrong couplings and potentials must fail.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid
from scipy.stats import kstest, norm

from rgflow.exact.potential import Potential, support
from rgflow.samplers.fields import sample_fields

FALSE_ALARM = 1e-4
FIELDS = jax.jit(sample_fields, static_argnames=("num_sites", "batch", "points"))

PHI4 = (0.8, Potential(0.2, 0.25))
PHI6 = (0.5, Potential(-0.5, 0.1, 0.05))
CHAIN = (0.4, Potential(1.0))
QUARTIC = (0.0, Potential(0.0, 0.25))


@functools.cache
def grid_powers(coupling, potential, num_sites, points=201):
    """Grid, and the powers 0..N of the transfer operator on it, each over the root of the trace to the same power."""
    grid = np.linspace(-1, 1, points) * support(coupling, potential)
    squares = grid**2
    energy = potential.quadratic / 2 * squares + potential.quartic * squares**2 + potential.sextic * squares**3
    operator = np.exp(coupling * np.outer(grid, grid) - (energy[:, None] + energy[None, :]) / 2)
    operator /= np.linalg.norm(operator, 2)
    powers = [np.eye(points)]
    for _ in range(num_sites):
        powers.append(powers[-1] @ operator)
    return grid, powers, np.trace(powers[-1])


def exact_moment(coupling, potential, num_sites, power, other=0, distance=0):
    """<x_i^power x_{i+distance}^other> from the trace."""
    grid, powers, trace = grid_powers(coupling, potential, num_sites)
    weights = powers[distance] * powers[num_sites - distance].T
    return grid**power @ weights @ grid**other / trace


MOMENTS = [(2, 0, 0), (4, 0, 0), (6, 0, 0), (1, 1, 1), (1, 1, 2), (2, 2, 1)]


def samples(case, num_sites, batch, number=0, points=64):
    coupling, potential = case
    half_width = support(coupling, potential)
    drawn = FIELDS(jax.random.key(number), coupling, tuple(potential), half_width, num_sites, batch, points)
    assert drawn.shape == (batch, num_sites) and drawn.dtype == jnp.float32
    return np.asarray(drawn, float)


def deviation(values, expected):
    """Distance of the mean over rows from an expected one, in standard errors."""
    return (values.mean() - expected) / (values.std(ddof=1) / math.sqrt(len(values)))


def row_moment(x, power, other, distance):
    return (x**power * np.roll(x, -distance, axis=1) ** other).mean(axis=1)


WRONG = [
    (PHI4, (0.84, PHI4[1])),
    (PHI4, (0.8, Potential(0.2, 0.26))),
    (PHI6, (0.5, Potential(-0.5, 0.1, 0.055))),
    (CHAIN, (0.41, CHAIN[1])),
    (QUARTIC, (0.0, Potential(0.05, 0.25))),
    ((-0.6, PHI4[1]), (-0.64, PHI4[1])),
]


SITES = [2, 3, 5, 8, 32]
# Every number of sites with one potential, and every potential with one number of sites.
CASES = [
    pytest.param(*pair, num_sites, marks=() if pair is WRONG[0] or num_sites == 5 else pytest.mark.slow)
    for pair in WRONG
    for num_sites in SITES
]


@pytest.mark.parametrize(("case", "wrong", "num_sites"), CASES)
def test_moments_against_the_trace(case, wrong, num_sites):
    x = samples(case, num_sites, 2**17 // num_sites, num_sites)
    exact = [exact_moment(*case, num_sites, *moment) for moment in MOMENTS]
    found = [row_moment(x, *moment) for moment in MOMENTS]
    assert max(abs(deviation(*pair)) for pair in zip(found, exact, strict=True)) < 4
    nearby = [exact_moment(*wrong, num_sites, *moment) for moment in MOMENTS]
    assert max(abs(deviation(*pair)) for pair in zip(found, nearby, strict=True)) > 4


@pytest.mark.parametrize("num_sites", [5, 6, pytest.param(11, marks=pytest.mark.slow)])
def test_every_pair_of_sites_is_as_correlated_as_its_distance_says(num_sites):
    """Also the pair across the end of the row: the ring is closed, and no site is told apart by when it was drawn."""
    x = samples(PHI4, num_sites, 20_000, 100 + num_sites)
    pairs = list(itertools.combinations_with_replacement(range(num_sites), 2))
    limit = norm.isf(FALSE_ALARM / len(pairs) / 2)
    correlation = [exact_moment(*PHI4, num_sites, 1, 1, distance) for distance in range(num_sites)]
    assert max(abs(deviation(x[:, i] * x[:, j], correlation[j - i])) for i, j in pairs) < limit
    # Were the ring open, the first and the last site would not be neighbours.
    assert abs(deviation(x[:, 0] * x[:, -1], correlation[2])) > limit


@pytest.mark.parametrize("points", [48, pytest.param(96, marks=pytest.mark.slow)])
def test_other_grids_have_the_same_moments(points):
    x = samples(PHI4, 12, 40_000, 7, points)
    for moment in MOMENTS:
        assert abs(deviation(row_moment(x, *moment), exact_moment(*PHI4, 12, *moment))) < 4


def test_too_coarse_a_grid_is_told_apart():
    """The spacing is three standard deviations of a site given its neighbours: the comparison of moments sees that."""
    x = samples(CHAIN, 8, 40_000, 3, 16)
    assert abs(deviation(row_moment(x, 2, 0, 0), exact_moment(*CHAIN, 8, 2))) > 4


def circulant(coupling, quadratic, num_sites, distance):
    momenta = 2 * np.pi * np.arange(num_sites) / num_sites
    return np.mean(np.cos(momenta * distance) / (quadratic - 2 * coupling * np.cos(momenta)))


@pytest.mark.parametrize("num_sites", SITES)
def test_gaussian_rings_against_the_circulant_closed_form(num_sites):
    coupling, potential = 0.8, Potential(2.0)
    # As many samples as above, which is the same program.
    x = samples((coupling, potential), num_sites, 2**17 // num_sites, num_sites)
    for distance in range(num_sites // 2 + 1):
        found = row_moment(x, 1, 1, distance)
        assert abs(deviation(found, circulant(coupling, 2.0, num_sites, distance))) < 4
    second = circulant(coupling, 2.0, num_sites, 0)
    assert abs(deviation(row_moment(x, 4, 0, 0), 3 * second**2)) < 4
    assert abs(deviation(row_moment(x, 2, 0, 0), circulant(coupling + 0.04, 2.0, num_sites, 0))) > 4


def test_cumulants_of_independent_quartic_components():
    """kappa_2 and kappa_4 of p ~ exp(-x^4/4), with errors from 128 groups; a cross moment shows independence."""
    x = samples(QUARTIC, 8, 2**17, 5)
    groups = x.reshape(128, -1)
    second = (groups**2).mean(axis=1)
    fourth = (groups**4).mean(axis=1)
    assert abs(deviation(second, 0.67598)) < 4
    # Linear about the known mean: the square of a mean of few would be biased.
    cumulant = fourth - 6 * 0.675978 * second + 3 * 0.675978**2
    assert abs(deviation(cumulant, -0.37084)) < 4
    assert abs(deviation(cumulant, -0.36)) > 4
    squares = (x**2 - 0.675978) * (np.roll(x, -1, axis=1) ** 2 - 0.675978)
    assert abs(deviation(squares.mean(axis=1), 0)) < 4


@functools.partial(jax.jit, static_argnames=("num_sites", "calls"))
def one_ring_a_call(key, coupling, potential, half_width, num_sites, calls):
    def draw(key):
        return sample_fields(key, coupling, potential, half_width, num_sites, 1, 32)[0]

    return jax.lax.map(draw, jax.random.split(key, calls), batch_size=64)


@pytest.mark.parametrize(("case", "wrong"), [(PHI4, (0.7, PHI4[1])), (PHI6, (0.5, Potential(-0.5, 0.1, 0.08)))])
def test_law_of_one_site_is_continuous(case, wrong):
    """Kolmogorov-Smirnov over rings with an offset each: the first site, one between two others, and the last drawn."""
    x = one_ring_a_call(jax.random.key(8), case[0], tuple(case[1]), support(*case), 5, 20_000)

    def distribution(case):
        grid, powers, trace = grid_powers(*case, 5)
        density = np.diag(powers[5]) / trace / (grid[1] - grid[0])
        return lambda values: np.interp(values, grid, cumulative_trapezoid(density, grid, initial=0))

    for site in (0, 2, 4):
        values = np.asarray(x[:, site], float)
        assert kstest(values, distribution(case)).pvalue > FALSE_ALARM
        assert kstest(values, distribution(wrong)).pvalue < FALSE_ALARM


@pytest.mark.parametrize("num_sites", [8, pytest.param(11, marks=pytest.mark.slow)])
def test_vmap_over_everything_traced_is_the_loop(num_sites):
    """Other rounding may move a draw that lies on the edge of a cell, one in 10^5 at the most, by a cell."""
    keys = jax.random.split(jax.random.key(2), 3)
    couplings = jnp.array([0.8, 0.5, -0.3])
    potentials = jnp.array([[0.2, 0.25, 0.0], [-0.5, 0.1, 0.05], [1.0, 0.0, 0.0]])
    widths = jnp.array([3.75, 3.1, 10.0])

    def draw(key, coupling, potential, half_width):
        return sample_fields(key, coupling, potential, half_width, num_sites, 500)

    together = np.asarray(jax.jit(jax.vmap(draw))(keys, couplings, potentials, widths))
    draw = jax.jit(draw)
    for run in range(3):
        single = np.asarray(draw(keys[run], couplings[run], potentials[run], widths[run]))
        assert np.mean(np.abs(single - together[run]) > 1e-5) < 1e-3
    assert np.std(together[0]) != np.std(together[1])


def test_no_host_library_is_called():
    lowered = FIELDS.lower(jax.random.key(0), 0.8, (0.2, 0.25, 0.0), 4.0, 12, 4)
    assert "custom_call" not in lowered.as_text()


def test_values_that_are_not_traced_are_taken():
    potential, half_width = jnp.array([0.2, 0.25, 0.0]), jnp.asarray(4.0)
    x = jax.jit(lambda key: sample_fields(key, 1, potential, half_width, 2, 3, 32))(jax.random.key(0))
    assert x.shape == (3, 2) and bool(jnp.all(jnp.abs(x) < 4.3))


@pytest.mark.parametrize("share", [0.49, -0.499, 0.4999])
def test_near_the_massless_point_the_variance_is_the_circulant_one(share):
    """The field is 1/sqrt(r - 2|K|) wide while neighbours differ by 1: large terms of the exponent must not cancel."""
    half_width = support(share, Potential(1.0))
    points = 8 * math.ceil(1.5 * half_width / 8)
    drawn = np.asarray(FIELDS(jax.random.key(4), share, (1.0, 0.0, 0.0), half_width, 8, 4000, points), float)
    modes = 2 * np.pi * np.arange(8) / 8
    assert abs(deviation((drawn**2).mean(axis=1), np.mean(1 / (1 - 2 * share * np.cos(modes))))) < 4


@pytest.mark.parametrize("coupling", [0.49999999, -0.49999999])
def test_a_field_that_no_grid_resolves_is_refused(coupling):
    half_width = support(coupling, Potential(1.0))
    for points in (64, 640):
        with pytest.raises(
            ValueError, match=rf"points = {points}: too few on half_width = 63245\.\d: the spacing"
        ) as raised:
            sample_fields(jax.random.key(0), coupling, (1.0, 0.0, 0.0), half_width, 8, 2, points)
        assert "\n" not in str(raised.value)


GOOD = {"coupling": 0.8, "potential": (0.2, 0.25, 0.0), "half_width": 4.0, "num_sites": 4, "batch": 2, "points": 64}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coupling", math.nan),
        ("coupling", -math.inf),
        ("potential", (0.2, math.nan, 0.0)),
        ("potential", np.array([0.2, 0.25, np.inf])),
        ("potential", jnp.array([0.2, -0.25, 0.0])),
        ("potential", (1.5, 0.0, 0.0)),
        ("half_width", 0.0),
        ("half_width", -1.0),
        ("half_width", math.nan),
        ("half_width", jnp.asarray(jnp.inf)),
        ("num_sites", 1),
        ("batch", 0),
        ("points", 8),
        ("points", 60),
    ],
)
def test_bad_input_is_refused_by_name(name, value):
    part = "coupling, potential|quadratic|quartic" if name in ("coupling", "potential") else name
    with pytest.raises(ValueError, match=f"({part}).* = .*: must (not )?be"):
        sample_fields(jax.random.key(0), **{**GOOD, name: value})


def test_what_is_known_is_checked_beside_what_is_traced():
    with pytest.raises(ValueError, match=r"coupling, potential = nan, .*: must be finite"):
        jax.eval_shape(lambda quartic: sample_fields(jax.random.key(0), math.nan, (0.2, quartic, 0), 4, 4, 2), 0.2)
