"""Score matching: exact moments, planted chains, calibrated errors, two implementations, degenerate units.

The statistical tests have fixed keys and allow four standard errors, a false-alarm rate of 6e-5 each; where there are
many z-scores their sum of squares is within the chi-square quantiles at 1e-4. A nearby wrong parameter must fail.
"""

import functools
import math

import chain_score_matching as chain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from rgflow.probes import score_matching as probes
from rgflow.probes.pair_moments import PairMoments, pair_moments
from rgflow.probes.score_matching import fit_moments, require_samples
from rgflow.samplers.fields import sample_fields

PHI4 = (0.8, (0.2, 0.25, 0.0))
PHI6 = (0.5, (-0.4, 0.1, 0.05))

_compiled = jax.jit(probes.score_matching, static_argnums=1)
_compiled_chain = jax.jit(chain.chain_score_matching, static_argnums=1)
_inflations = jax.jit(probes._largest_inflations, static_argnums=1)
_fit_of_moments = jax.jit(lambda rows: fit_moments(pair_moments(rows), (2, 4)))
fields = jax.jit(sample_fields, static_argnums=(3, 4, 5))


@functools.cache
def chain_samples(n):
    """Rings of four sites, the same in every test that adds a column to them."""
    return np.asarray(fields(jax.random.key(7), *PHI4, 4.0, 4, n))


def score_matching(samples, powers):
    return jax.device_get(_compiled(samples, powers))


def chain_fit(samples, statistics):
    return jax.device_get(_compiled_chain(samples, statistics))


def over_draws(fit, draws):
    """What is made of many keys, one after the other in one program."""
    keys = jax.random.split(jax.random.key(3), draws)
    return jax.device_get(jax.jit(lambda keys: jax.lax.map(fit, keys))(keys))


def ring(coupling, sites):
    return coupling * (np.roll(np.eye(sites), 1, 0) + np.roll(np.eye(sites), -1, 0))


def pairs(matrix):
    matrix = np.asarray(matrix)
    return matrix[..., *np.triu_indices(matrix.shape[-1], 1)]


@functools.cache
def exact_moments(model, sites):
    """Moments of a ring from powers of its transfer operator on a grid, in float64."""
    coupling, (r, u, v) = model
    x = np.linspace(-5, 5, 301)
    energy = r * x**2 / 2 + u * x**4 + v * x**6
    operator = np.exp(coupling * np.outer(x, x) - (energy[:, None] + energy[None, :]) / 2)
    operator /= np.linalg.eigvalsh(operator)[-1]
    powers = [np.linalg.matrix_power(operator, k) for k in range(sites + 1)]
    total = np.trace(powers[sites])
    even = np.array([np.sum(x ** (2 * k) * np.diagonal(powers[sites])) for k in range(1, 6)]) / total
    by_distance = np.array(
        [[np.sum(np.outer(x**a, x) * powers[d] * powers[sites - d].T) for d in range(1, sites)] for a in (1, 3, 5)]
    )
    cross = np.zeros((3, sites, sites))
    for i in range(sites):
        for j in range(sites):
            cross[:, i, j] = by_distance[:, (j - i) % sites - 1] / total if i != j else even[:3]
    return PairMoments(cross, np.repeat(even[:, None], sites, axis=1))


@pytest.mark.parametrize(("model", "powers"), [(PHI4, (2, 4)), (PHI4, (2, 4, 6)), (PHI6, (2, 4, 6))])
def test_exact_moments_give_back_the_model(model, powers):
    coupling, (r, u, v) = model
    fit = fit_moments(exact_moments(model, 6), powers)
    assert isinstance(fit.onsite, np.ndarray)
    assert fit.onsite.dtype == np.float64
    exact = np.array([r / 2, u, v])[: len(powers), None] * np.ones(6)
    np.testing.assert_allclose(fit.onsite, exact, atol=1e-6)
    np.testing.assert_allclose(fit.couplings, ring(coupling, 6), atol=1e-6)
    # Sites of other sizes: x = a y has the coupling K a a' and the potential U(a y).
    size = np.linspace(0.5, 2, 6)
    moments = exact_moments(model, 6)
    cross = np.stack([moments.cross[k] * size[:, None] ** (2 * k + 1) * size for k in range(3)])
    even = moments.even * size ** (2 * np.arange(1, 6)[:, None])
    scaled = fit_moments(PairMoments(cross, even), powers)
    np.testing.assert_allclose(scaled.couplings * size[:, None] * size, fit.couplings, atol=1e-6)
    np.testing.assert_allclose(scaled.onsite * size ** np.array(powers)[:, None], fit.onsite, atol=1e-6)


def test_every_second_site_is_a_chain_of_its_own_kind_only_without_coupling():
    """A family that is not closed: the fit of the sites that decimation leaves, in both precisions."""
    kept = np.arange(0, 8, 2)
    moments = exact_moments(PHI4, 8)
    moments = PairMoments(moments.cross[:, kept][:, :, kept], moments.even[:, kept])
    fit = fit_moments(moments)
    narrow = jax.jit(fit_moments)(PairMoments(*(jnp.asarray(part, jnp.float32) for part in moments)))
    np.testing.assert_allclose(narrow.couplings, fit.couplings, atol=1e-4)
    np.testing.assert_allclose(narrow.onsite, fit.onsite, atol=1e-3)
    near, far = fit.couplings[0, 1], fit.couplings[0, 2]
    assert 0.3 < near < 0.45
    assert abs(far) < 0.1 * near


def test_moments_of_samples_are_sums():
    samples = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = jax.jit(pair_moments)(samples)
    x = np.asarray(samples, np.float64)
    np.testing.assert_allclose(found.cross, [(x**a).T @ x / 50 for a in (1, 3, 5)], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.even, [np.mean(x ** (2 * k), axis=0) for k in range(1, 6)], rtol=1e-4)


def test_gaussian_couplings_are_the_inverse_covariance():
    samples = fields(jax.random.key(1), 0.8, (2.0, 0.0, 0.0), 14.0, 6, 20000)
    fit = score_matching(samples, (2,))
    x = np.asarray(samples, np.float64)
    precision = np.linalg.inv(x.T @ x / len(x))
    np.testing.assert_allclose(pairs(fit.values.couplings), -pairs(precision), atol=1e-3)
    np.testing.assert_allclose(2 * fit.values.onsite[0], np.diagonal(precision), atol=1e-3)
    scores = (pairs(fit.values.couplings) - pairs(ring(0.8, 6))) / pairs(fit.errors.couplings)
    assert np.abs(scores).max() < 4
    assert (
        np.abs(pairs(fit.values.couplings) - 0.9 * pairs(ring(0.8, 6))).max() / pairs(fit.errors.couplings)
    ).min() > 4
    # The error of a precision matrix, sqrt((P_ii P_jj + P_ij^2) / n).
    np.testing.assert_allclose(pairs(fit.errors.couplings), np.sqrt((4 + pairs(ring(0.8, 6)) ** 2) / 20000), rtol=0.05)


@pytest.mark.parametrize(("model", "powers"), [(PHI4, (2, 4)), (PHI4, (2, 4, 6)), (PHI6, (2, 4, 6))])
def test_planted_chains_are_recovered(model, powers):
    coupling, (r, u, v) = model
    samples = fields(jax.random.key(2), *model, 4.0, 6, 30000)
    fit = score_matching(samples, powers)
    assert fit.values.couplings.dtype == fit.errors.onsite.dtype == jnp.float32
    error = pairs(fit.errors.couplings)
    scores = (pairs(fit.values.couplings) - pairs(ring(coupling, 6))) / error
    assert np.abs(scores).max() < 4
    assert (np.abs(scores + 0.15 * coupling / error * (pairs(ring(1, 6)) > 0))[pairs(ring(1, 6)) > 0]).mean() > 4
    exact = np.array([r / 2, u, v])[: len(powers), None]
    assert np.abs((fit.values.onsite - exact) / fit.errors.onsite).max() < 4
    if powers == (2, 4):
        assert (np.abs(fit.values.onsite[1] - 0.15) > 4 * fit.errors.onsite[1]).all()


@functools.cache
def many():
    """Of 150 draws, 3000 rings of four sites each."""
    return over_draws(lambda key: sample_fields(key, *PHI4, 4.0, 4, 3000), 150)


@pytest.mark.parametrize("powers", [pytest.param((2, 4), marks=pytest.mark.slow), (2, 4, 6)])
def test_errors_are_calibrated(powers):
    draws, sites = 150, 4
    fits = jax.device_get(jax.jit(lambda x: jax.lax.map(lambda rows: probes.score_matching(rows, powers), x))(many()))
    coupled = (pairs(fits.values.couplings) - pairs(ring(0.8, sites))) / pairs(fits.errors.couplings)
    local = ((fits.values.onsite - np.array([0.1, 0.25, 0])[: len(powers), None]) / fits.errors.onsite)[:, :, 0]
    for scores in (coupled[:, 0], coupled[:, 1], *np.asarray(local).T):
        # Tenth moments of 3000 samples leave the errors on site up to a tenth too small.
        assert chi2.ppf(5e-5, draws) < np.sum(scores**2) < chi2.ppf(1 - 5e-5, draws) * (1.2 if len(powers) > 2 else 1)
        assert abs(scores.mean()) < 4 / math.sqrt(draws)
    assert np.sum((1.5 * coupled[:, 0]) ** 2) > chi2.ppf(1 - 5e-5, draws)


@pytest.mark.parametrize(
    ("model", "statistics"),
    [
        ((0.8, (2.0, 0.0, 0.0)), ("square", "neighbour")),
        pytest.param(PHI4, ("square", "quartic", "neighbour"), marks=pytest.mark.slow),
        (PHI6, ("square", "quartic", "sextic", "neighbour")),
        (PHI4, tuple(chain.STATISTICS)),
    ],
)
def test_chain_family_by_automatic_differentiation(model, statistics):
    coupling, (r, u, v) = model
    samples = fields(jax.random.key(4), *model, 4.0 if u or v else 14.0, 8, 5000)
    fit = chain_fit(samples, statistics)
    planted = {"square": -r / 2, "quartic": -u, "sextic": -v, "neighbour": coupling}
    exact = np.array([planted.get(name, 0.0) for name in statistics])
    assert np.abs((fit.values - exact) / fit.errors).max() < 4
    place = statistics.index("neighbour")
    assert abs(fit.values[place] - 0.8 * coupling) > 4 * fit.errors[place]


def test_structured_and_automatic_fit_agree_for_one_shared_parameter():
    """A ring of samples and all its rotations: parameters per site are then those of the chain."""
    samples = np.asarray(fields(jax.random.key(6), *PHI4, 4.0, 3, 2000))
    rotated = np.concatenate([np.roll(samples, shift, axis=1) for shift in range(3)])
    values = score_matching(rotated, (2, 4)).values
    found = chain_fit(samples, ("square", "quartic", "neighbour")).values
    np.testing.assert_allclose(values.onsite, -found[:2, None] * np.ones(3), atol=1e-4)
    np.testing.assert_allclose(pairs(values.couplings), found[2], atol=1e-4)


def test_errors_of_the_chain_are_calibrated():
    draws = 150

    def fit(key):
        return chain.chain_score_matching(sample_fields(key, *PHI4, 4.0, 4, 512))

    fits = over_draws(fit, draws)
    scores = np.asarray((fits.values - np.array([-0.1, -0.25, 0.8])) / fits.errors)
    for column in scores.T:
        assert chi2.ppf(5e-5, draws) < np.sum(column**2) < chi2.ppf(1 - 5e-5, draws)
        assert np.sum((1.5 * column) ** 2) > chi2.ppf(1 - 5e-5, draws)


def test_degenerate_units_are_nan_and_the_others_unharmed():
    samples, fifth = chain_samples(500), np.arange(500) == 5
    alone = score_matching(samples, (2, 4))
    broken = {
        "zero": np.zeros(500),
        "constant": np.full(500, 0.3),
        "not finite": np.where(fifth, np.nan, samples[:, 0]),
        "overflow": np.where(fifth, np.inf, samples[:, 0]),
        "two values": np.random.default_rng(0).choice([-1.0, 1.0], 500),
        "copy": -samples[:, 1],
        "sum": samples[:, 0] - 3 * samples[:, 1],
    }
    lost = {"copy": [1], "sum": [0, 1]}
    for name, column in broken.items():
        fit = score_matching(np.concatenate([samples, column[:, None]], axis=1).astype(np.float32), (2, 4))
        for part in jax.tree.leaves(fit):
            assert np.isnan(part[..., [4, *lost.get(name, [])]]).all(), name
        gone = lost.get(name, [])
        kept = np.setdiff1d(np.arange(4), gone)
        alike = score_matching(samples * ~np.isin(np.arange(4), gone), (2, 4)) if gone else alone
        for found, expected in zip(fit, alike, strict=True):
            np.testing.assert_allclose(found.onsite[:, kept], expected.onsite[:, kept], atol=1e-4, err_msg=name)
            np.testing.assert_allclose(
                found.couplings[kept][:, kept], expected.couplings[kept][:, kept], atol=1e-4, err_msg=name
            )
    ones = np.ones((5000, 8), np.float32)
    assert np.isnan(chain_fit(ones, ("square", "quartic", "neighbour")).values).all()


def dependent_column(kind, x):
    """A column that makes some units dependent, and which."""
    return {
        "copy": (-x[:, 1], [1]),
        "sum of two": (x[:, 0] - 3 * x[:, 1], [0, 1]),
        "small part of one": (x[:, 0] - 0.03 * x[:, 1], [0, 1]),
        "sum of all but one": (x[:, :3] @ np.array([1.0, -2.0, 0.5], np.float32), [0, 1, 2]),
        "two values": (np.where(x[:, 2] + x[:, 3] > 0.3, 1, -1).astype(np.float32), []),
    }[kind]


DEPENDENT = ["copy", "sum of two", "small part of one", "sum of all but one", "two values"]


@pytest.mark.parametrize("kind", DEPENDENT)
@pytest.mark.parametrize("n", [500, pytest.param(4000, marks=pytest.mark.slow), 30000])
def test_dependence_is_found_in_whatever_order_is_summed(kind, n):
    """Samples and units in other orders are rounded as by other processors: the answer is the same every time."""
    samples = chain_samples(n)
    column, gone = dependent_column(kind, samples)
    together = np.concatenate([samples, column[:, None]], axis=1)
    lost = np.isin(np.arange(5), [*gone, 4])
    random = np.random.default_rng(1)
    for _ in range(12):
        rows, units = random.permutation(n), random.permutation(5)
        fit = score_matching(together[rows][:, units], (2, 4))
        np.testing.assert_array_equal(np.isnan(fit.values.onsite), np.stack([lost[units]] * 2))
        between = lost[units][:, None] | lost[units][None, :]
        np.testing.assert_array_equal(np.isnan(fit.values.couplings), between)
        np.testing.assert_array_equal(np.isnan(fit.errors.couplings), between)


@pytest.mark.parametrize("powers", [(2, 4), (2, 4, 6)])
@pytest.mark.parametrize("kind", DEPENDENT)
@pytest.mark.parametrize("n", [500, pytest.param(4000, marks=pytest.mark.slow), 100000])
def test_the_threshold_of_dependence_is_far_from_both_sides(powers, kind, n):
    """By a factor 30 from dependent units, which are at infinity but for rounding, and from those of a chain."""
    samples = chain_samples(n)
    column, gone = dependent_column(kind, samples)
    together = np.concatenate([samples, column[:, None]], axis=1)
    together /= np.sqrt(np.mean(together**2, axis=0))
    lost = np.isin(np.arange(5), [*gone, 4])
    random = np.random.default_rng(1)
    for _ in range(4):
        rows, units = random.permutation(n), random.permutation(5)
        found = np.asarray(_inflations(together[rows][:, units], powers)) * np.finfo(np.float32).eps / probes.INFLATION
        assert found[lost[units]].min() > 30
        assert found[~lost[units]].max() < 1 / 30


@pytest.mark.parametrize("kind", DEPENDENT)
def test_moments_of_samples_show_dependence_in_any_order(kind):
    samples = chain_samples(4000)
    column, gone = dependent_column(kind, samples)
    together = np.concatenate([samples, column[:, None]], axis=1)
    together /= np.sqrt(np.mean(together**2, axis=0))
    lost = np.isin(np.arange(5), [*gone, 4])
    random = np.random.default_rng(2)
    for _ in range(12):
        rows, units = random.permutation(4000), random.permutation(5)
        found = np.isnan(_fit_of_moments(together[rows][:, units]).onsite)
        np.testing.assert_array_equal(found, np.stack([lost[units]] * 2))


def test_inflation_is_that_of_a_regression():
    random = np.random.default_rng(3)
    columns = random.normal(size=(3000, 4)) @ random.normal(size=(4, 4)) + 0.01 * random.normal(size=(3000, 4))
    exact = np.diagonal(columns.T @ columns) * np.diagonal(np.linalg.inv(columns.T @ columns))

    @jax.jit
    def found(columns):
        def turned(turn):
            return (columns @ turn.T).T @ (columns @ turn.T) / len(columns)

        return probes.inflations(turned(jnp.eye(4)), turned)

    np.testing.assert_allclose(found(columns.astype(np.float32)), exact, rtol=1e-3)


def test_chain_of_two_values_has_no_fit_in_any_order():
    """Then the gradients of the square and of the quartic are the same, but for rounding."""
    spins = np.where(np.random.default_rng(4).normal(size=(5000, 8)) > 0, 0.7, -0.7).astype(np.float32)
    for seed in range(4):
        rows = np.random.default_rng(seed).permutation(spins)
        for statistics in (("square", "quartic"), ("square", "neighbour_squares"), tuple(chain.STATISTICS)):
            assert np.isnan(chain_fit(rows, statistics).values).all()
        assert np.isfinite(chain_fit(rows, ("square", "neighbour")).values).all()


def test_sizes_of_features_do_not_matter():
    samples = chain_samples(500)
    size = np.array([1e-4, 1.0, 1e2, 1e4], np.float32)
    one, other = score_matching(samples, (2, 4)).values, score_matching(samples * size, (2, 4)).values
    outer = np.outer(size, size)
    np.testing.assert_allclose(other.couplings * outer, one.couplings, atol=1e-4)
    np.testing.assert_allclose(other.onsite * size ** np.array([[2], [4]]), one.onsite, atol=1e-4)


def test_under_vmap_as_alone():
    samples = np.stack([chain_samples(500), chain_samples(500)[::-1] * np.float32(0.9)])
    together = jax.jit(jax.vmap(lambda rows: probes.score_matching(rows, (2, 4))))(samples)
    for number, rows in enumerate(samples):
        alone = score_matching(rows, (2, 4))
        for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(one, other[number], atol=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"samples = 499: must be at least 500 for a fit of 8 features"):
        require_samples(499, 8)
    assert require_samples(500, 8) == 500
    for powers in ((), (3,), (4, 2)):
        with pytest.raises(ValueError, match=r"powers = .*: must be some of \(2, 4, 6\)"):
            probes.score_matching(jnp.ones((10, 2)), powers)
    with pytest.raises(ValueError, match=r"statistics = .*: must be some of square"):
        chain.chain_score_matching(jnp.ones((10, 4)), ("cubic",))
    with pytest.raises(ValueError, match="sites = 2: must be at least 3"):
        chain.chain_score_matching(jnp.ones((10, 2)))
