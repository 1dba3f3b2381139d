"""Targets by brute force, losses at known outputs, exact optima by enumeration and quadrature, and the shuffled data.

Statistical tests have fixed keys and four sigma: a false alarm in 16 000 each.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.exact.potential import Potential, potential_energy, support
from rgflow.exact.ring import ring_correlation
from rgflow.fixed_points import task as module
from rgflow.fixed_points import theory
from rgflow.fixed_points.task import (
    READOUT_TASKS,
    TASKS,
    Batch,
    Static,
    draw_batch,
    draw_samples,
    head_of,
)

# Compiled whole: operation by operation, the tests would spend their time compiling.
loss, optimal_loss, targets, trivial_loss = (
    jax.jit(function, static_argnums=0)
    for function in (module.loss, module.optimal_loss, module.targets, module.trivial_loss)
)

READOUT = Static("field", "readout", 16, 2, 8, 512, 2, 48)
DECODER = dataclasses.replace(READOUT, head="decoder")
X = np.random.default_rng(0).normal(size=(8, 16))
DATA = Batch(jnp.asarray(X, jnp.float32), jnp.array([1.0, 0.0] * 4))


def hypers(task="autoencoder", coupling=0.6, contrast=0.5, gap=0.0, shuffled=False, potential=(0.2, 0.25, 0.0)):
    return {
        "task": jnp.int32(TASKS.index(task)),
        "coupling": jnp.float32(coupling),
        "other_coupling": jnp.float32(contrast * coupling),
        "log_partition_gap": jnp.float32(gap),
        "potential": jnp.asarray(potential, jnp.float32),
        "half_width": jnp.float32(support(coupling, Potential(*potential))),
        "shuffled": jnp.bool_(shuffled),
    }


def asked_of(task, x, label):
    """The target of one sample, by loops."""
    n = len(x)
    if task == "magnetization":
        return [sum(x) / n**0.5]
    if task == "energy":
        return [sum(x[i] * x[(i + 1) % n] for i in range(n)) / n**0.5]
    if task == "block_magnetizations":
        return [(x[4 * i] + x[4 * i + 1] + x[4 * i + 2] + x[4 * i + 3]) / 2 for i in range(n // 4)]
    return [label]


@pytest.mark.parametrize("task", READOUT_TASKS)
def test_targets_by_hand(task):
    by_hand = np.zeros((8, 4))
    for row, (x, label) in enumerate(zip(X, np.asarray(DATA.label), strict=True)):
        values = asked_of(task, x, label)
        by_hand[row, : len(values)] = values
    found = targets(READOUT, DATA)
    assert found.shape == (4, 8, 4)
    np.testing.assert_allclose(found[READOUT_TASKS.index(task)], by_hand, atol=1e-5)


@pytest.mark.parametrize("task", READOUT_TASKS)
def test_losses_of_a_readout_by_hand(task):
    outputs = np.random.default_rng(1).normal(size=(8, 4))
    terms = []
    for x, label, out in zip(X, np.asarray(DATA.label), outputs, strict=True):
        for asked, z in zip(asked_of(task, x, label), out, strict=False):
            terms.append(np.log1p(np.exp(-z if asked else z)) if task == "classification" else (z - asked) ** 2)
    found = loss(READOUT, hypers(task), jnp.asarray(outputs, jnp.float32), DATA)
    np.testing.assert_allclose(found, np.mean(terms), rtol=1e-5)
    # Outputs that the task does not ask for have no say.
    moved = jnp.asarray(outputs, jnp.float32).at[:, 1:].add(5.0)
    changed = abs(loss(READOUT, hypers(task), moved, DATA) - found)
    assert changed > 1 if task == "block_magnetizations" else changed == 0


@pytest.mark.parametrize("task", READOUT_TASKS[:3])
def test_the_right_answer_costs_nothing_and_the_best_constant_the_variance(task):
    asked = targets(READOUT, DATA)[READOUT_TASKS.index(task)]
    assert loss(READOUT, hypers(task), asked, DATA) == 0
    assert optimal_loss(READOUT, hypers(task), DATA) == 0
    constant = jnp.broadcast_to(jnp.mean(asked, axis=0, keepdims=True), asked.shape)
    best = loss(READOUT, hypers(task), constant, DATA)
    np.testing.assert_allclose(trivial_loss(READOUT, hypers(task), DATA), best, rtol=1e-5)
    assert loss(READOUT, hypers(task), constant + 0.1, DATA) > best + 5e-3


def test_losses_of_an_autoencoder():
    x, ising = DATA.x, dataclasses.replace(DECODER, system="ising")
    assert loss(DECODER, hypers(), x, DATA) == 0
    np.testing.assert_allclose(loss(DECODER, hypers(), x + 0.5, DATA), 0.25, rtol=1e-5)
    np.testing.assert_allclose(trivial_loss(DECODER, hypers(), DATA), X.var(axis=0).mean(), rtol=1e-5)
    spins = Batch(jnp.sign(x), DATA.label)
    logits = np.random.default_rng(2).normal(size=(8, 16))
    by_hand = np.mean(np.log1p(np.exp(-np.sign(X) * logits)))
    np.testing.assert_allclose(loss(ising, hypers(), jnp.asarray(logits, jnp.float32), spins), by_hand, rtol=1e-5)
    np.testing.assert_allclose(loss(ising, hypers(), jnp.zeros_like(x), spins), np.log(2), rtol=1e-5)
    np.testing.assert_allclose(trivial_loss(ising, hypers(), spins), np.log(2), rtol=1e-5)
    assert jnp.isnan(optimal_loss(DECODER, hypers(), DATA)) and jnp.isnan(optimal_loss(ising, hypers(), spins))


def rings(num_sites):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=num_sites)))


def gibbs(states, coupling):
    energy = coupling * (states * np.roll(states, 1, axis=1)).sum(axis=1)
    log_partition = np.logaddexp.reduce(energy)
    return np.exp(energy - log_partition), log_partition


def test_the_optimal_loss_of_a_classification_is_that_of_bayes():
    """Over all 256 configurations of eight spins, each with the chance of either label."""
    states = rings(8)
    (p, z), (q, w) = gibbs(states, 0.8), gibbs(states, 0.4)
    bayes = -(p * np.log(p / (p + q)) + q * np.log(q / (p + q))).sum() / 2
    static = dataclasses.replace(READOUT, system="ising", num_sites=8, halvings=1)

    def expected(gap):
        given = hypers("classification", 0.8, 0.5, gap)
        one = lambda x, label: optimal_loss(static, given, Batch(x[None], label[None]))  # noqa: E731
        at = [
            jax.vmap(lambda x, y=y: one(x, y))(jnp.asarray(states, jnp.float32))
            for y in (jnp.array(1.0), jnp.array(0.0))
        ]
        return (p @ np.asarray(at[0], np.float64) + q @ np.asarray(at[1], np.float64)) / 2

    assert z - w == pytest.approx(theory.log_partition(0.8, None, 8, 1.0) - theory.log_partition(0.4, None, 8, 1.0))
    assert expected(z - w) == pytest.approx(bayes, abs=1e-6)
    assert 0.1 < bayes < np.log(2)
    for wrong in (z - w + 0.1, z - w - 0.1):
        assert expected(wrong) > bayes + 1e-4


@pytest.mark.parametrize("potential", [Potential(0.2, 0.25), Potential(0.2, 0.0, 0.05), Potential(2.0)])
def test_partition_sums_of_fields_by_quadrature(potential):
    width = support(0.6, potential)
    x = np.linspace(-width, width, 45)
    dx = x[1] - x[0]
    one = np.exp(-potential_energy(potential, x)) * dx
    found = []
    for coupling in (0.6, 0.3):
        bond = np.exp(coupling * np.outer(x, x))
        # Three sites on a ring: the whole cube at once.
        cube = bond[:, :, None] * bond[None, :, :] * bond[:, None, :]
        found.append(np.log((cube * one[:, None, None] * one[None, :, None] * one[None, None, :]).sum()))
        assert theory.log_partition(coupling, potential, 3, width) == pytest.approx(found[-1], abs=1e-8)
    gap = theory.log_partition(0.6, potential, 3, width) - theory.log_partition(0.3, potential, 3, width)
    assert gap == pytest.approx(found[0] - found[1], abs=1e-8) and gap > 0.01


def test_the_partition_sum_of_a_gaussian_ring_has_its_closed_form():
    q = 2 * np.pi * np.arange(32) / 32
    exact = [-0.5 * np.log((1 - 2 * K * np.cos(q)) / (2 * np.pi)).sum() for K in (0.4, 0.2)]
    width = support(0.4, Potential(1.0))
    found = [theory.log_partition(K, Potential(1.0), 32, width) for K in (0.4, 0.2)]
    np.testing.assert_allclose(found, exact, rtol=1e-9)


@pytest.mark.parametrize("system", ["ising", "field"])
def test_shuffled_sites_keep_their_law_and_lose_each_other(system):
    static = dataclasses.replace(READOUT, system=system)
    draw = jax.jit(lambda shuffled: draw_samples(
        static, jax.random.key(3), {**hypers(), "shuffled": shuffled}, jnp.float32(0.6), 4096))  # fmt: skip
    data, shuffled = (np.asarray(draw(jnp.bool_(flag)), np.float64) for flag in (False, True))
    np.testing.assert_array_equal(np.sort(data, axis=0), np.sort(shuffled, axis=0))
    for x, coupled in ((data, True), (shuffled, False)):
        products = x * np.roll(x, 1, axis=1)
        means, errors = products.mean(axis=0), products.std(axis=0) / 64
        # Neighbours, and the second ones.
        assert ((np.abs(means) < 4 * errors).all()) != coupled
        assert not coupled or (means > 4 * errors).all()
    far = np.corrcoef(shuffled.T)[~np.eye(16, dtype=bool)]
    assert np.abs(far).max() < 4.5 / 64  # 120 pairs: a false alarm in 1 200


def test_a_batch_to_classify_has_half_of_either_coupling():
    static = dataclasses.replace(READOUT, system="ising")
    draw = jax.jit(lambda given: draw_batch(static, jax.random.key(4), given, 8192))
    for task, couplings in (("classification", (1.0, 0.5)), ("energy", (1.0, 1.0))):
        batch = draw(hypers(task, 1.0))
        assert batch.label.tolist() == [1.0] * 4096 + [0.0] * 4096
        x = np.asarray(batch.x, np.float64)
        for half, coupling in zip((x[:4096], x[4096:]), couplings, strict=True):
            energies = (half * np.roll(half, 1, axis=1)).mean(axis=1)
            error = energies.std() / 64
            assert abs(energies.mean() - ring_correlation(coupling, 16, 1)) < 4 * error
            assert abs(energies.mean() - ring_correlation(1.1 * coupling, 16, 1)) > 4 * error


def test_tasks_share_one_program():
    found = jax.jit(lambda given: loss(READOUT, given, jnp.ones((8, 4)), DATA))
    values = [float(found(hypers(task))) for task in READOUT_TASKS]
    assert found._cache_size() == 1 and len(set(values)) == 4
    assert {head_of(task) for task in READOUT_TASKS} == {"readout"}
