"""Stacks and small machines as experiments: training in turn, one branch under vmap, free-running chains, the probe.

Statistical tests have fixed keys; four sigma, false-alarm rate 6e-5 each.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lattices import heated

from rgflow.exact.enumeration import torus_couplings
from rgflow.exact.torus import kaufman_energy
from rgflow.probes.couplings import nearest_neighbours, pseudo_coupling
from rgflow.probes.receptive_fields import random_radius
from rgflow.variational_rg import block_spins, dynamics, probe, small
from rgflow.variational_rg.constructions import bond_machine
from rgflow.variational_rg.free_running import axis_products, free_run
from rgflow.variational_rg.gibbs import hidden_means
from rgflow.variational_rg.learning import contrast, update
from rgflow.variational_rg.machine import Machine
from rgflow.variational_rg.task import lattice_samples, pack
from rgflow.variational_rg.theory import relative_entropy

STATIC = dynamics.Static(
    size=8, layers=(16, 4), units="binary", algorithm="cd", sweeps=1, mean_field=True, l1_method="proximal",
    pass_up="means", batch=20, steps_per_machine=6, shown=9, chains=8, chain_sweeps=8, temperatures=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def hypers():
    samples = lattice_samples(0.408, 8, 140, 0)[0]
    rates = {"learning_rate": 0.1, "momentum": 0.5, "final_momentum": 0.9, "l1": 2e-3, "weight_deviation": 0.01}
    rates = {name: jnp.float32(value) for name, value in rates.items()}
    return {
        "samples": jnp.asarray(pack(samples[:100])),
        "test_samples": jnp.asarray(pack(samples[100:])),
        "momentum_steps": jnp.int32(3),
        **rates,
    }


def trained(static, hypers):
    """The states before each of twelve steps and after the last, six steps for each machine."""

    @jax.jit
    def run(key):
        def step(state, number):
            after, info = dynamics.step(static, jax.random.fold_in(key, number), state, hypers)
            return after, (after, info["reconstruction_loss"])

        first = dynamics.init(static, key, hypers)
        return first, *jax.lax.scan(step, first, jnp.arange(12))[1]

    first, later, losses = jax.device_get(run(jax.random.key(0)))
    assert np.isfinite(losses[-1])
    return [first, *(jax.tree.map(lambda x, k=k: x[k], later) for k in range(12))]


@pytest.fixture(scope="module")
def states(hypers):
    return trained(STATIC, hypers)


@pytest.fixture(scope="module")
def disordered():
    """At K = 0.3, after some forty autocorrelation times."""
    return np.asarray(heated(jax.random.key(0), 0.3, 12, 1504, 100))


def test_machines_are_trained_one_after_the_other(states):
    weights = [[np.asarray(machine.weights) for machine in state.machines] for state in states]
    for number in range(12):
        moved = [not np.array_equal(a, b) for a, b in zip(weights[number], weights[number + 1], strict=True)]
        assert moved == ([True, False] if number < 6 else [False, True]), number


def test_a_step_of_the_second_machine_by_hand(hypers, states):
    before, after = states[7:9]
    # Step 7: the second machine's second step, on the second batch, with the early momentum.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 7), 2)  # Stream.NOISE
    bits = np.unpackbits(np.asarray(hypers["samples"])[20:40], axis=1).astype(np.float32)

    @jax.jit
    def by_hand(machines, velocity, bits):
        found = contrast(jax.random.split(key)[1], machines[1], hidden_means(machines[0], bits), 1)
        return update(machines[1], velocity, found.gradient, 0.1, 0.5, 2e-3, "proximal")

    machine, velocity = by_hand(before.machines, before.velocities[1], bits)
    np.testing.assert_allclose(after.machines[1].weights, machine.weights, atol=1e-6)
    np.testing.assert_allclose(after.velocities[1].weights, velocity.weights, atol=1e-6)


@pytest.mark.parametrize("changes", [{"algorithm": "pcd", "pass_up": "draws"}, {"units": "spin", "sweeps": 3}])
def test_every_kind_of_run_takes_its_steps(hypers, changes):
    states = trained(dataclasses.replace(STATIC, **changes), hypers)
    assert int(states[-1].steps) == 12
    if "algorithm" in changes:
        assert [chain.shape for chain in states[-1].chains] == [(20, 64), (20, 16)]
        assert not np.array_equal(states[0].chains[0], states[-1].chains[0])


def test_runs_of_a_batch_take_one_branch_together(hypers):
    keys = jax.random.split(jax.random.key(3), 2)
    batched = jax.tree.map(lambda x: np.stack([x, x]), hypers)
    one = functools.partial(dynamics.step, STATIC)
    state = jax.device_get(jax.jit(jax.vmap(functools.partial(dynamics.init, STATIC)))(keys, batched))
    # One number for all runs: the branch stays a branch, where a batched one would compute both machines.
    traced = jax.jit(jax.vmap(one)).trace(keys, state, batched)
    text = str(traced.jaxpr)
    assert " cond[" in text or "= cond" in text
    step = traced.lower().compile()
    together = step(keys, state, batched)[0]
    alone = jax.jit(one)(keys[1], jax.tree.map(lambda x: x[1], state), hypers)[0]
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b, atol=1e-6)
    # A run that died long ago does not hold the others back.
    late = dataclasses.replace(state, steps=np.array([2, 6], np.int32))
    moved = step(keys, late, batched)[0]
    assert not np.array_equal(moved.machines[1].weights[1], state.machines[1].weights[1])
    np.testing.assert_array_equal(moved.machines[0].weights[1], state.machines[0].weights[1])


def test_the_number_of_a_batch_is_the_largest():
    one = jax.jit(jax.vmap(lambda n, x: jax.lax.cond(dynamics.in_step(n) > 3, lambda: x, lambda: -x)))
    assert one(jnp.array([1, 5]), jnp.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert dynamics.in_step(jnp.int32(4)) == 4


def test_the_probe_at_the_end_and_before(hypers, states):
    read = jax.jit(lambda state: probe.probe(STATIC, jax.random.key(9), state, hypers))
    before, after = read(states[6]), read(states[12])
    coords = {"layer": 2, "unit": 16, "axis": 2, "shown": 9, "site": 64, "example": 4, "distance": 4, "start": 2}
    for name, value in after.items():
        assert value.shape == tuple(coords[dim] for dim in probe.DIMS.get(name, ())), name
    assert np.isnan(before["model_energy"]).all() and np.isnan(before["log_partition"])
    assert np.isfinite(after["model_energy"]).all() and np.isfinite(after["log_partition"])
    assert np.isnan(after["radius"][1, 4:]).all() and np.isfinite(after["radius"][0]).all()
    field = np.asarray(states[12].machines[0].weights) @ np.asarray(states[12].machines[1].weights)
    np.testing.assert_allclose(after["receptive_field"][1, :4], field.T, atol=1e-5)
    assert np.isnan(after["receptive_field"][1, 4:]).all()


@pytest.mark.slow  # three seconds
def test_majorities_at_regular_places_are_the_majority_rule_and_irregular_ones_are_less_coupled():
    # Forty autocorrelation times.
    spins = heated(jax.random.key(0), 0.408, 12, 480, 600)

    @jax.jit
    def placed(spins, centre):
        spread = probe.placed_majority(jax.random.key(0), spins.astype(jnp.float32), centre, 12, 2)
        return spread, pseudo_coupling(spread, nearest_neighbours(centre, 12))

    regular = np.stack(np.divmod(np.arange(36), 6), axis=1).astype(np.float32) * 2 + np.float32(0.5)
    majority, coupling = placed(spins, regular)
    blocks = np.asarray(spins).reshape(-1, 6, 2, 6, 2).sum(axis=(2, 4)).reshape(-1, 36)
    np.testing.assert_array_equal(np.asarray(majority)[blocks != 0], np.sign(blocks)[blocks != 0])
    moved = regular + np.random.default_rng(1).uniform(-1, 1, regular.shape).astype(np.float32)
    assert placed(spins, moved)[1] < 0.95 * coupling


def test_free_running_chains_of_an_exact_machine_have_the_exact_energy():
    machine = jax.tree.map(np.float32, bond_machine(torus_couplings(0.25, 4, 4)))
    run = jax.jit(lambda key, *given: free_run(key, *given, 4, 800))(
        jax.random.key(1), machine, np.ones((64, 16), np.float32)
    )
    exact = kaufman_energy(0.25, 4, 4)
    deviation = (np.asarray(run.energy) - exact) / np.asarray(run.energy_error)
    assert (abs(deviation) < 4).all()
    wrong = (np.asarray(run.energy) - kaufman_energy(0.27, 4, 4)) / np.asarray(run.energy_error)
    assert (abs(wrong) > 4).all()
    np.testing.assert_allclose(-2 * run.correlation[0], run.energy.mean(), rtol=1e-5)


def test_products_along_the_axes_by_hand():
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (3, 6, 6))
    found = np.asarray(jax.jit(axis_products, static_argnums=1)(spins.astype(np.float32), 3))
    for r in (1, 2, 3):
        by_hand = [(np.roll(spins, r, axis) * spins).mean(axis=(1, 2)) for axis in (1, 2)]
        np.testing.assert_allclose(found[:, r - 1], sum(by_hand) / 2, atol=1e-6)


@pytest.mark.parametrize(("sites", "units", "block"), [(1600, 400, 2), (1600, 100, 4), (1600, 25, 8), (81, 9, 3)])
def test_blocks_of_a_layer(sites, units, block):
    assert block_spins.block_side(sites, units) == block


def test_yardsticks_of_known_lattices(disordered):
    found = block_spins.yardsticks(disordered, 12, (36, 9), 0)
    # The error is that of 20 000 lattices of 16 x 16, 0.00032, for fewer sites.
    error = 0.00032 * (20_000 * 256 / disordered.size) ** 0.5
    assert abs(found["data_coupling"] - 0.3) < 4 * error
    assert abs(found["data_coupling"] - 0.31) > 4 * error
    # Coarser lattices of the disordered phase are less coupled, and the majority more than decimated spins.
    assert found["data_coupling"] > found["majority_coupling"][0] > found["majority_coupling"][1] > 0
    assert (found["majority_coupling"] > found["decimation_coupling"]).all()


def test_components_of_translation_invariant_data_have_no_place(disordered):
    found = block_spins.component_measures(disordered[:1200], disordered[1200:], (36, 9))
    assert (found["component_radius"] > 0.85 * random_radius(12, own_centre=True)).all()
    assert (found["component_participation"] > 0.3 * 144).all()
    assert found["component_error"][0] < found["component_error"][1] < 0.5


@functools.cache
def small_run(algorithm):
    """The state after 3000 steps, and the entropies before every one of them and before one more."""
    static = small.Static(3, 5, "spin", algorithm, 1, False, "proximal", 50)
    rates = {"learning_rate": 0.02, "final_momentum": 0.5, "l1": 0.0, "weight_deviation": 0.1}
    hypers = {"law": small.data_law(0.4, 3).astype(np.float32), **rates}

    @jax.jit
    def run(key, hypers):
        def step(state, number):
            after, info = small.step(static, jax.random.fold_in(key, number), state, hypers)
            return after, info["relative_entropy"]

        state, entropies = jax.lax.scan(step, small.init(static, key, hypers), jnp.arange(3000))
        return state, jnp.append(entropies, step(state, 3000)[1])

    state, entropies = run(jax.random.key(0), hypers)
    return static, state, np.asarray(entropies)


@pytest.mark.parametrize("algorithm", ["exact", "cd", pytest.param("pcd", marks=pytest.mark.slow)])
def test_small_machines_learn_and_report_their_entropy(algorithm):
    static, state, entropies = small_run(algorithm)
    assert entropies[-500:].mean() < 0.3 * entropies[0]
    machine = jax.tree.map(np.float64, state.machine)
    # What is reported is the entropy before a step: one more step reports that of the state.
    exact = relative_entropy(Machine(*jax.tree.leaves(machine), "spin"), small.hamiltonian(0.4, 3))
    assert exact == pytest.approx(entropies[-1], abs=1e-4)
    record = small.probe(static, jax.random.key(0), state, {})
    assert [record[name].shape for name in small.DIMS] == [(9, 5), (9,), (5,)]


def test_the_exact_gradient_never_climbs_and_beats_sampling():
    exact, sampled = small_run("exact")[2], small_run("cd")[2]
    assert (np.diff(exact[::100]) < 1e-6).all()
    assert exact[-1] < sampled[-500:].mean()
