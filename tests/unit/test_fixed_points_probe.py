r"""The probe on networks whose weights are known: planted compressions, orbits, dead units, what is no number.

One compiled probe of linear networks serves all. Statistical tests have fixed keys and four sigma: a false alarm in
16 000 each. Errors of a mean coupling come from that of one: $\bar J$ of a ring of M has $\sigma_J / \sqrt M$ at least.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fixed_points as configs
from rgflow.engine import grid
from rgflow.fixed_points import experiment, probe
from rgflow.fixed_points.task import block_rows, decimation_rows, fixed_rows, fourier_modes
from rgflow.probes.gauges import GAUGES

SITES, FEATURES, SAMPLES = 16, 8, 4096
STANDARDISED, RAW = GAUGES.index("standardised"), GAUGES.index("raw")
MATCHED, SIGNS = range(2)


def made(**values):
    config = configs.get_config("smoke")
    point = {"task": "autoencoder", "activation": "identity", "halvings": 1, "weight_decay": 0.0, "shuffle": "none"}
    config.num_sites, config.samples, config.orbit = SITES, SAMPLES, 3
    return experiment.make(grid.point_config(config, {**point, **values}))


def hypers_of(one):
    as_traced = lambda x: jnp.asarray(x, jnp.float32 if np.asarray(x).dtype == np.float64 else None)  # noqa: E731
    return {name: as_traced(value) for name, value in dict(one.hypers).items()}


@pytest.fixture(scope="module")
def read():
    """The records of a linear network with given rows, on given data; one program for all of them."""
    one = made(data="gaussian", coupling=0.4)
    compiled, init = jax.jit(one.probe), jax.jit(one.init)

    def measured(rows, change, data):
        hypers = hypers_of(made(**{"data": "gaussian", "coupling": 0.4, **data}))
        state = jax.tree.map(np.asarray, init(jax.random.key(0), hypers))
        planted = {"kernel": rows.T.astype(np.float32), "bias": np.full(FEATURES, 0.3, np.float32)}
        state = state.replace(params=change({**state.params, "encoder_0": planted}))
        return jax.tree.map(np.asarray, compiled(jax.random.key(1), state, hypers))

    known = {}

    def records(rows, change=None, **data):
        if change is not None:
            return measured(rows, change, data)
        asked = (rows.tobytes(), *sorted(data.items()))
        if asked not in known:
            known[asked] = measured(rows, lambda params: params, data)
        return known[asked]

    records.program = compiled
    return records


@pytest.mark.slow  # six seconds; the sweep of tests/smoke has the same records
def test_records_have_their_dimensions(read):
    one = made(data="gaussian", coupling=0.4)
    sizes = {**{name: len(labels) for name, labels in one.coords.items()}, "orbit": 3}
    for name, value in read(decimation_rows(SITES, FEATURES)).items():
        assert value.shape == tuple(sizes[dim] for dim in one.dims.get(name, ())), name
        assert np.isfinite(value).all() or name == "relative_optimum", name
    assert read.program._cache_size() == 1


def gaussian_coupling(rows, coupling):
    """The ring coupling of standardised linear features of a Gaussian chain with r = 1, and their variance."""
    chain = np.eye(SITES) - coupling * (np.roll(np.eye(SITES), 1, 0) + np.roll(np.eye(SITES), -1, 0))
    covariance = rows @ np.linalg.inv(chain) @ rows.T
    couplings = np.linalg.inv(covariance) * covariance[0, 0] * (1 - np.eye(len(rows)))
    return np.sqrt((couplings**2).sum() / (2 * len(rows))), covariance[0, 0]


@pytest.mark.parametrize(("scheme", "maker"), [(0, decimation_rows), (1, block_rows)])
def test_planted_compressions_have_the_renormalised_coupling(read, scheme, maker):
    found = read(maker(SITES, FEATURES))
    exact, variance = gaussian_coupling(maker(SITES, FEATURES), 0.4)
    reference = made(data="gaussian", coupling=0.4).reference["exact_coupling"][:, 1]
    assert reference[scheme] == pytest.approx(exact, abs=1e-9)
    # Each J has an error of about 1 / sqrt(n), their mean square over the ring that of eight.
    error = 1.5 / np.sqrt(SAMPLES * FEATURES)
    at = found["ring_coupling"][0, STANDARDISED, MATCHED]
    assert abs(at - exact) < 4 * error
    assert abs(at - reference[1 - scheme]) > 4 * error
    # In raw units J is divided by the variances.
    assert abs(found["ring_coupling"][0, RAW, MATCHED] - exact / variance) < 4 * error
    # Whitened features of Gaussian data are independent.
    assert (abs(found["ring_coupling"][0, 2:, MATCHED]) < 4 / np.sqrt(SAMPLES)).all()


def test_signs_of_planted_gaussian_features_have_the_correlation_of_signs(read):
    found = read(block_rows(SITES, FEATURES))
    # Signs of neighbours with correlation rho have (2/pi) arcsin(rho); a ring of them is nearly one of spins.
    values = 1 / (1 - 0.8 * np.cos(2 * np.pi * np.arange(SITES) / SITES))
    covariance = np.array([(values * np.cos(2 * np.pi * np.arange(SITES) * d / SITES)).mean() for d in range(4)])
    rho = (covariance[2] + (covariance[1] + covariance[3]) / 2) / (covariance[0] + covariance[1])
    np.testing.assert_allclose(found["correlation"][0, RAW], found["correlation"][0, STANDARDISED], rtol=1e-4)
    coupling = np.arctanh(2 / np.pi * np.arcsin(rho))
    assert found["ring_coupling"][0, STANDARDISED, SIGNS] == pytest.approx(coupling, abs=0.03)
    assert found["ring_coupling"][0, STANDARDISED, SIGNS] < 0.8 * found["ring_coupling"][0, STANDARDISED, MATCHED]


def test_planted_block_sums_halve_the_kurtosis_and_decimation_keeps_it(read):
    one = made(data="independent", coupling=0.0)
    own = -0.37084 / 0.67598**2
    np.testing.assert_allclose(one.reference["exact_kurtosis"], [[own, own], [own, own / 2]], atol=1e-4)
    for maker, exact, other in ((decimation_rows, own, own / 2), (block_rows, own / 2, own)):
        found = read(maker(SITES, FEATURES), data="independent", coupling=0.0)
        # The variance of the fourth power is below that of a Gaussian, 24 / n.
        error = np.sqrt(24 / SAMPLES / FEATURES)
        for gauge in (RAW, STANDARDISED):
            assert abs(found["excess_kurtosis"][0, gauge] - exact) < 4 * error
            assert abs(found["excess_kurtosis"][0, gauge] - other) > 4 * error
        # No coupling: within the noise on either side, as are the columns that were put together from other samples.
        for name in ("ring_coupling", "floor_ring_coupling"):
            rows = found[name][0, STANDARDISED] if name == "ring_coupling" else found[name][0]
            assert (abs(rows) < 2.5 / np.sqrt(SAMPLES)).all(), name


def test_the_law_of_independent_features_is_the_fixed_point_of_decimation(read):
    """Score matching of x^4 / 4, standardised: theta_4 of the planted law, and not a Gaussian's."""
    found = read(decimation_rows(SITES, FEATURES), data="independent", coupling=0.0)
    fixed = made(data="independent", coupling=0.0).reference["fixed_onsite"]
    np.testing.assert_allclose(fixed, [[0.0, 0.67598**2 / 4, 0.0], [0.5, 0.0, 0.0]], atol=1e-5)
    onsite = found["onsite"][0, STANDARDISED]
    assert abs(onsite[1] - fixed[0, 1]) < 0.05 < abs(onsite[1] - fixed[1, 1])


def test_an_orbit_has_one_loss_and_many_couplings(read):
    found = read(decimation_rows(SITES, FEATURES))
    np.testing.assert_allclose(found["orbit_loss"], found["loss"], rtol=1e-4)
    couplings = found["orbit_coupling"][:, MATCHED]
    assert np.ptp(couplings) > 0.1
    assert (abs(couplings - found["ring_coupling"][0, STANDARDISED, MATCHED]) > 0.05).any()


def test_the_loss_is_that_of_the_network_beside_the_best_constant(read):
    def zeroed(params):
        return {**params, "decoder_0": jax.tree.map(np.zeros_like, params["decoder_0"])}

    constant = read(decimation_rows(SITES, FEATURES), zeroed)
    assert constant["relative_loss"] == pytest.approx(1.0, abs=1e-3)

    def undone(params):
        kernel = decimation_rows(SITES, FEATURES).astype(np.float32)
        return {**params, "decoder_0": {"kernel": kernel, "bias": np.float32(-0.3) * kernel.sum(axis=0)}}

    # Every second site is known and the others are guessed by their mean.
    assert read(decimation_rows(SITES, FEATURES), undone)["relative_loss"] == pytest.approx(0.5, abs=0.03)


def test_a_dead_unit_spoils_no_other(read):
    rows = decimation_rows(SITES, FEATURES)
    alive = read(rows, data="independent", coupling=0.0)
    rows[3] = 0
    found = read(rows, data="independent", coupling=0.0)
    assert (alive["live"], found["live"]) == (1.0, 7 / 8)
    for name in ("excess_kurtosis", "onsite"):
        np.testing.assert_allclose(found[name][0, STANDARDISED], alive[name][0, STANDARDISED], atol=0.05)
    assert abs(found["mutual_information"][0]) < 0.1
    for name in (*probe.COUPLINGS, "correlation"):
        rows_of = found[name][0, [RAW, STANDARDISED]]
        assert np.isfinite(rows_of).all() and (abs(rows_of) < 0.1).all(), name
    chain = decimation_rows(SITES, FEATURES)
    chain[3] = 0
    # Seven features in a row have six of the eight bonds, of which one alone is weaker.
    cut = read(chain)["ring_coupling"][0, STANDARDISED, MATCHED]
    assert 0.8 * 0.2667 < cut < 0.2667 + 0.03


def test_a_network_that_is_no_number_has_no_number(read):
    found = read(
        decimation_rows(SITES, FEATURES), lambda params: jax.tree.map(lambda x: x * np.float32(np.nan), params)
    )
    for name in (*probe.MEASURED, "loss", "relative_loss", "orbit_loss", "orbit_coupling"):
        assert np.isnan(found[name]).all(), name
    for name in probe.COUPLINGS:
        assert np.isnan(found[f"floor_{name}"]).all(), name


def test_samples_of_a_record_are_those_of_the_last(read):
    zeroed = lambda p: {**p, "decoder_0": jax.tree.map(np.zeros_like, p["decoder_0"])}  # noqa: E731
    one, other = read(block_rows(SITES, FEATURES)), read(block_rows(SITES, FEATURES), zeroed)
    for name in probe.MEASURED:
        np.testing.assert_array_equal(one[name], other[name])
    assert one["loss"] != other["loss"]


def test_fixed_rows_by_hand():
    rows = fixed_rows(8, 4)
    x = np.random.default_rng(0).normal(size=8)
    np.testing.assert_allclose(rows[1] @ x, x[::2])
    np.testing.assert_allclose(rows[2] @ x, (x[::2] + x[1::2]) / np.sqrt(2))
    for width in (1, 4, 8):
        np.testing.assert_allclose(fourier_modes(8, width) @ fourier_modes(8, width).T, np.eye(width), atol=1e-12)


@pytest.mark.parametrize("coupling", [0.1, 0.45])
def test_long_waves_are_the_principal_components_of_a_coupled_chain(coupling):
    precision = np.eye(16) - coupling * (np.roll(np.eye(16), 1, 0) + np.roll(np.eye(16), -1, 0))
    variance, axes = np.linalg.eigh(np.linalg.inv(precision))
    # Odd numbers cut no pair of a cosine and its sine.
    leading = axes[:, ::-1][:, :7]
    found = fourier_modes(16, 7)
    np.testing.assert_allclose(found.T @ found, leading @ leading.T, atol=1e-9)
    assert (np.diff(variance[::-1]) < 1e-12).all()


def test_a_random_projection_is_orthonormal_and_that_of_its_run():
    one = made(data="gaussian", coupling=0.4)
    init = jax.jit(lambda key: one.init(key, hypers_of(one)).projection)
    rows = [np.asarray(init(jax.random.key(seed))) for seed in (0, 1)]
    assert rows[0].shape == (FEATURES, SITES)
    np.testing.assert_allclose(rows[0] @ rows[0].T, np.eye(FEATURES), atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 0.1


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_other_features_have_no_orbit(read, activation):
    found = read(decimation_rows(SITES, FEATURES), activation=activation)
    assert np.isnan(found["orbit_loss"]).all() and np.isnan(found["orbit_coupling"]).all()
    assert np.isfinite(found["ring_coupling"][0, STANDARDISED, SIGNS])
    if activation == "tanh":
        # Signs about the median do not feel an increasing function.
        linear = read(decimation_rows(SITES, FEATURES))
        np.testing.assert_allclose(
            found["ring_coupling"][0, STANDARDISED, SIGNS], linear["ring_coupling"][0, STANDARDISED, SIGNS], atol=1e-5
        )


@pytest.mark.parametrize("coupling", [0.2, 0.45])
def test_relu_keeps_what_is_above_its_threshold(read, coupling):
    found = read(decimation_rows(SITES, FEATURES), activation="relu", coupling=coupling)
    # A bias of 0.3 puts the atom below the median: the signs are those of the linear features.
    linear = read(decimation_rows(SITES, FEATURES), coupling=coupling)
    np.testing.assert_allclose(
        found["ring_coupling"][0, STANDARDISED, SIGNS], linear["ring_coupling"][0, STANDARDISED, SIGNS], atol=1e-5
    )
    assert (found["excess_kurtosis"] - linear["excess_kurtosis"])[0, STANDARDISED] > 0.2
