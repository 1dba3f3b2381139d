"""The lattice chain as an experiment against enumeration and Kaufman's torus, its records against their definition.

Statistical tests have fixed keys and compare within 4 standard errors over independent walkers (false-alarm rate 6e-5
two-sided, somewhat more with the few degrees of freedom of 16 groups); a nearby wrong coupling must fail them.
"""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exponents import exponents_of_step
from scipy.stats import t as student

from rgflow.exact.enumeration import enumerate_ising, torus_couplings
from rgflow.exact.torus import kaufman_energy
from rgflow.samplers.square import observe
from rgflow.variational_rg import lattice
from rgflow.variational_rg.lattice import Static

FOUR_SIGMA = 6.3e-5
"""Two-sided chance of more than four standard errors."""


def settings(**values):
    section = {"walkers": 64, "method": "swendsen_wang", "levels": 0, "steps": 40, "records": 4} | values
    size, coupling = (section.pop(name, default) for name, default in (("size", 4), ("coupling", 0.4)))
    return types.SimpleNamespace(size=size, coupling=coupling, lattice=types.SimpleNamespace(**section))


def run(config, seed=0):
    """Records of one run, and the spins after every step."""
    static, hypers = lattice.static_of(config), lattice.hypers_of(config)
    key = jax.random.key(seed)

    def advance(state, number):
        state, info = lattice.step(static, jax.random.fold_in(key, number), state, hypers)
        assert info == {}
        return state, (state.spins, lattice.probe(static, key, state, hypers))

    state = lattice.init(static, key, hypers)
    _, (spins, records) = jax.jit(lambda state: jax.lax.scan(advance, state, jnp.arange(config.lattice.steps)))(state)
    steps = np.array(lattice.schedule(config)[1:]) - 1
    return jax.tree.map(lambda x: np.asarray(x, np.float64)[steps], records), spins, state


def test_start_is_half_hot_half_cold_and_its_record_is_empty():
    config = settings(size=8, levels=1)
    static, hypers = lattice.static_of(config), lattice.hypers_of(config)
    state = lattice.init(static, jax.random.key(0), hypers)
    magnetization = np.asarray(state.spins, float).mean(axis=(1, 2))
    assert (magnetization[32:] == 1).all() and np.abs(magnetization[:32]).max() < 0.8
    record = lattice.probe(static, jax.random.key(0), state, hypers)
    assert all(np.isnan(value).all() for value in record.values())
    assert set(record) == set(lattice.DIMS)
    for name, dims in lattice.DIMS.items():
        lengths = {"lattice": 2, "level": 1, **{name: len(labels) for name, labels in lattice.COORDS.items()}}
        assert record[name].shape == tuple(lengths[dim] for dim in dims)


@pytest.mark.parametrize("method", ["swendsen_wang", "heat_bath"])
def test_records_are_the_means_of_the_sweeps_between_them(method):
    config = settings(size=8, method=method, steps=12, records=3)
    records, spins, _ = run(config)
    seen = [observe(each) for each in spins]
    energy = np.array([each.energy for each in seen], float).reshape(3, 4, 2, 32)
    square = np.array([each.squared_magnetization for each in seen], float).reshape(3, 4, 2, 32)
    centre = kaufman_energy(0.4, 8, 8)
    expected = {
        "chain_energy": energy,
        "chain_energy_square": (energy - centre) ** 2,
        "chain_absolute_magnetization": np.sqrt(square),
        "chain_squared_magnetization": square,
        "chain_fourth_magnetization": square**2,
    }
    assert set(records) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(records[name], values.mean(axis=(1, 3)), rtol=2e-6, atol=1e-7)


def test_block_moments_give_the_exponents_of_the_same_spins():
    """T from the records' moments equals T from the operators of the same blocked spins, to 1e-4."""
    # Signs of a smooth random field: correlated on every scale, as critical spins are.
    rng, waves = np.random.default_rng(3), np.fft.fftfreq(16) * 16
    amplitude = 1 / (0.2 + waves[:, None] ** 2 + waves[None, :] ** 2) ** 0.4
    fields = np.fft.ifft2(np.fft.fft2(rng.normal(size=(512, 16, 16))) * amplitude).real
    spins, key = jnp.asarray(np.where(fields > 0, 1, -1), jnp.int8), jax.random.key(3)
    lattices = jax.jit(lattice.block_lattices, static_argnums=2)(key, spins, 2)
    moments_of = jax.jit(lattice.block_moments, static_argnums=1)
    for family, operators in lattice.OPERATORS.items():
        moments = jax.tree.map(lambda x: np.asarray(x, np.float64), moments_of(lattices, family))
        for level in range(2):
            fine, coarse = (np.asarray(operators(each)) for each in lattices[level : level + 2])
            expected = exponents_of_step(fine, coarse, resamples=2)[0]
            mean, after = moments[family][level : level + 2]
            within = moments[f"{family}_within"][level] - np.outer(after, after)
            between = moments[f"{family}_between"][level] - np.outer(after, mean)
            for count in range(1, len(mean) + 1):
                flow = 2 * np.linalg.solve(within[:count, :count], between[:count, :count])
                exponent = np.log2(np.abs(np.linalg.eigvals(flow)).max())
                assert exponent == pytest.approx(expected[count - 1], abs=1e-4)


def test_chunks_of_the_engine_do_not_matter():
    """Sums start again after a record by the count of steps, whatever is recorded or saved in between."""
    config = settings(steps=12, records=3)
    static, hypers, key = lattice.static_of(config), lattice.hypers_of(config), jax.random.key(0)
    records, _, state = run(config)
    sweep = jax.jit(lambda key, state: lattice.step(static, key, state, hypers)[0])
    for number in range(12):
        state = jax.tree.map(jnp.asarray, jax.device_get(state))
        state = sweep(jax.random.fold_in(key, number), state)
        assert float(state.count) == number % 4 + 1
    last = lattice.probe(static, key, state, hypers)
    for name, value in last.items():
        np.testing.assert_allclose(value, records[name][-1], rtol=1e-6)


def p_value(groups, expected):
    """Chance of so large a difference from the mean of independent, equally long groups."""
    deviation = (groups.mean() - expected) / (groups.std(ddof=1) / np.sqrt(groups.size))
    return 2 * student.sf(abs(deviation), groups.size - 1)


@pytest.mark.parametrize("method", ["swendsen_wang", "heat_bath"])
def test_four_by_four_against_enumeration(method):
    config = settings(method=method)
    static = lattice.static_of(config)
    hypers = {**lattice.hypers_of(config), "interval": 240}
    runs = jax.jit(jax.vmap(lambda key: _mean_after(static, key, hypers, 60, 240)))
    found = jax.tree.map(np.asarray, runs(jax.random.split(jax.random.key(5), 8)))
    for coupling, passes in ((0.4, True), (0.408, False)):
        exact = enumerate_ising(torus_couplings(coupling, 4, 4))
        energy = exact.energy / coupling / 16
        values = {"chain_energy": energy}
        values |= {"chain_squared_magnetization": exact.moments[2] / 16**2}
        values |= {"chain_fourth_magnetization": exact.moments[4] / 16**4}
        for name, expected in values.items():
            assert (p_value(found[name].ravel(), expected) > FOUR_SIGMA) == passes, (name, coupling)


def _mean_after(static, key, hypers, discarded, kept):
    """Record over ``kept`` sweeps after ``discarded`` ones; the interval of the hypers is that of the record."""

    def advance(number, state):
        return lattice.step(static, jax.random.fold_in(key, number), state, hypers)[0]

    state = jax.lax.fori_loop(0, discarded, advance, lattice.init(static, key, hypers))
    state = state.replace(steps=jnp.zeros_like(state.steps))
    return lattice.probe(static, key, jax.lax.fori_loop(discarded, discarded + kept, advance, state), hypers)


def test_reference_and_schedule():
    config = settings(size=40, coupling=0.408, steps=1000, records=10)
    exact = lattice.reference(config)
    assert exact["kaufman_energy"] == pytest.approx(-1.151821151, abs=1e-8)
    assert exact["kaufman_specific_heat"] == pytest.approx(0.99467047, abs=1e-7)
    assert exact["onsager_energy"] == pytest.approx(-1.15085489, abs=1e-8)
    assert exact["correlation_length"] == pytest.approx(7.46732, abs=1e-5)
    assert exact["onsager_magnetization"] == 0 and exact["walkers_per_start"] == 32
    assert lattice.schedule(config) == tuple(range(0, 1001, 100))
    assert lattice.hypers_of(config)["interval"] == 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Static(8, 16, "wolff"), "lattice.method = 'wolff': must be one of swendsen_wang, heat_bath"),
        (lambda: Static(5, 16, "heat_bath"), "size = 5: must be at least 2, and even for heat_bath"),
        (lambda: Static(1, 16), "size = 1: must be"),
        (lambda: Static(8, 15), "lattice.walkers = 15: must be even and at least 2"),
        (lambda: Static(8, 16, levels=2), "lattice.levels = 2: must leave a whole number of at least 4 sites"),
        (lambda: Static(10, 16, levels=2), "lattice.levels = 2: must leave"),
        (lambda: Static(8, 16, levels=-1), "lattice.levels = -1: must leave"),
        (
            lambda: lattice.schedule(settings(steps=10, records=3)),
            "lattice.steps, records = 10, 3: the records must divide",
        ),
    ],
)
def test_bad_input_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
