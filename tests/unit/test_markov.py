"""Markov chains: what is refused, shapes, dtypes, and samples that no jit, vmap or x64 switch changes."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.rank_flow.theory import conditional_entropies, stationary_entropy, tokenwise_optimum
from rgflow.samplers import chain_families_moving
from rgflow.samplers.markov import (
    MarkovChain,
    _invert,
    _successors,
    check_chain,
    iid_chain,
    interval_ends,
    make_chain,
    sample_chain,
    shuffle_time,
)

FAMILIES = {
    "dirichlet_lazy": {"alpha": 0.4},
    "lazy_uniform": {"eigenvalue": 0.4},
    "lazy_zipf": {"eigenvalue": 0.4, "exponent": 1.5},
    "circulant": {"eigenvalues": [1.0, 0.5, 0.2, 0.1, 0.2, 0.5]},
    "ring_walk": {"hop": 0.2},
    "block": {"groups": 3, "persistence": 0.4},
    "dirichlet": {"concentration": 0.5},
    "softmax": {"inverse_temperature": 1.5},
    "banded": {"bandwidth": 1.0},
}

SAMPLE = jax.jit(sample_chain, static_argnums=(2, 3))
SHUFFLE = jax.jit(shuffle_time)


@pytest.mark.parametrize(
    ("kind", "num_states", "params", "message"),
    [
        ("markov", 4, {}, "kind = 'markov'.*dirichlet_lazy, lazy_uniform, lazy_zipf, circulant, ring_walk, block"),
        ("lazy_uniform", 1, {"eigenvalue": 0.1}, "num_states = 1: must be"),
        ("lazy_uniform", -4, {"eigenvalue": 0.1}, "num_states = -4: must be"),
        ("lazy_uniform", 4, {"alpha": 0.1}, "alpha = 0.1: .* only eigenvalue, correlation_length"),
        ("lazy_uniform", 4, {}, "eigenvalue, correlation_length = neither"),
        ("lazy_uniform", 4, {"eigenvalue": None}, "eigenvalue, correlation_length = neither"),
        ("lazy_uniform", 4, {"eigenvalue": 0.1, "correlation_length": 1.0}, "correlation_length = both"),
        (
            "lazy_uniform",
            4,
            {"correlation_length": -1.0},
            r"correlation_length = -1.0: .*\(0, 1e\+06\] tokens",
        ),
        ("lazy_uniform", 4, {"correlation_length": 0}, "correlation_length = 0: must"),
        ("lazy_uniform", 4, {"correlation_length": float("nan")}, "correlation_length = nan: must"),
        ("lazy_uniform", 4, {"correlation_length": float("inf")}, "correlation_length = inf: must"),
        ("lazy_uniform", 4, {"correlation_length": "7"}, "correlation_length = 7: must be a number"),
        ("lazy_uniform", 4, {"eigenvalue": 1.0}, "eigenvalue = 1.0: must"),
        ("lazy_uniform", 4, {"eigenvalue": -0.34}, r"eigenvalue = -0.34: .*\[-0.333333, 1\)"),
        ("dirichlet_lazy", 4, {"alpha": 1.0}, r"alpha = 1.0: .*\[-1, 1\)"),
        ("dirichlet_lazy", 4, {"alpha": -1.5}, "alpha = -1.5: must"),
        ("dirichlet_lazy", 4, {"alpha": 0.5, "concentration": 0.0}, "concentration = 0.0: must"),
        ("dirichlet_lazy", 4, {"alpha": 0.5, "concentration": 1e-4}, "concentration = 0.0001: .*larger"),
        ("dirichlet_lazy", 4, {"alpha": 0.5, "seed": -1}, "seed = -1: must"),
        ("dirichlet_lazy", 4, {"alpha": 0.5, "seed": 1.5}, "seed = 1.5: must"),
        ("circulant", 4, {"eigenvalues": [1.0, 0.5]}, "eigenvalues = .*4 finite real"),
        ("circulant", 3, {"eigenvalues": np.array([1.0, 0.5j, -0.5j])}, "eigenvalues = .*3 finite real"),
        ("circulant", 3, {"eigenvalues": [0.9, 0.5, 0.5]}, "eigenvalues = .*start with 1"),
        ("circulant", 3, {"eigenvalues": [1.0, 0.5, 0.4]}, "eigenvalues = .*entry k must equal"),
        ("circulant", 3, {"eigenvalues": [1.0, 1.0, 1.0]}, "eigenvalues = .*inside"),
        ("circulant", 3, {"eigenvalues": [1.0, -0.9, -0.9]}, "eigenvalues = .*negative probability -0.267"),
        ("ring_walk", 16, {"hop": 0.0}, r"hop = 0.0: .*\(0, 0.5\]"),
        ("ring_walk", 16, {"hop": 0.6}, "hop = 0.6: must"),
        ("ring_walk", 16, {"correlation_length": 7.0}, "correlation_length = 7.0: .*only 13.1307 tokens"),
        ("block", 6, {"persistence": 0.5}, "groups = None: block needs it"),
        ("block", 6, {"groups": 4, "persistence": 0.5}, "groups = 4: must .* divides 6"),
        ("block", 6, {"groups": 1, "persistence": 0.5}, "groups = 1: must"),
        ("block", 6, {"groups": 2, "persistence": -0.1}, "persistence = -0.1: must"),
        ("lazy_uniform", 2, {"eigenvalue": -1.0}, "eigenvalue = -1.0: .* 2 states gives no ergodic chain .*periodic"),
        ("ring_walk", 4, {"hop": 0.5}, "hop = 0.5: .* no ergodic chain"),
        ("ring_walk", 2, {"hop": 0.5}, "hop = 0.5: .* no ergodic chain"),
        ("lazy_zipf", 3, {"eigenvalue": 1 - 1e-13}, "eigenvalue = .*: .* no ergodic chain"),
        ("block", 4, {"groups": 2, "persistence": 1 - 1e-10}, "persistence = .*: .* no ergodic chain"),
        ("dirichlet_lazy", 4, {"alpha": 1 - 1e-10}, "alpha = .*: .* no ergodic chain"),
    ],
)
def test_make_chain_refuses_in_one_line(kind, num_states, params, message):
    with pytest.raises(ValueError, match=message) as raised:
        make_chain(kind, num_states, **params)
    assert "\n" not in str(raised.value)


HALVES = np.full(2, 0.5)


@pytest.mark.parametrize(
    ("transition", "stationary", "message"),
    [
        (
            [[0.5, 0.4], [0.4, 0.5]],
            HALVES,
            "transition = off by 0.1: must be >= 0, its rows and stationary must sum to 1",
        ),
        ([[1.5, -0.5], [-0.5, 1.5]], HALVES, "transition = off by 0.5"),
        ([[0.9, 0.1], [0.3, 0.7]], HALVES, "transition = off by 0.1: .* @ transition must be"),
        ([[0.9, 0.1], [0.1, 0.9]], [0.6, 0.6], "transition = off by 0.2: .* sum to 1"),
        ([[np.nan, 0.1], [0.1, 0.9]], HALVES, "transition = off by nan"),
        ([[0.9, 0.1]], HALVES, r"of shape \(1, 2\) and \(2,\): must be \(V, V\) and \(V,\)"),
        ([[0.0, 1.0], [1.0, 0.0]], HALVES, "periodic"),
        (np.eye(2), HALVES, "state 0 is absorbing"),
        ([[0.5, 0.5], [0.0, 1.0]], [0.0, 1.0], "state 1 is absorbing"),
        (np.kron(np.eye(2), np.full((2, 2), 0.5)), np.full(4, 0.25), "fall into parts"),
    ],
)
def test_a_chain_by_hand_is_checked_like_a_made_one(transition, stationary, message):
    chain = MarkovChain(np.array(transition), np.array(stationary))
    for asked in (check_chain, stationary_entropy, lambda c: conditional_entropies(c, 2), tokenwise_optimum):
        with pytest.raises(ValueError, match=message):
            asked(chain)
    if "off by" in message:
        with pytest.raises(ValueError, match=message):
            sample_chain(jax.random.key(0), chain, 2, 4)
    # What is traced has no values: its arithmetic is the caller's.
    jax.eval_shape(lambda c: sample_chain(jax.random.key(0), c, 2, 4), MarkovChain(np.eye(2), HALVES))


@pytest.mark.parametrize("length", [0.3, 7.0, 1e6])
def test_a_chain_in_float32_is_accepted(length):
    chain = make_chain("dirichlet_lazy", 64, correlation_length=length)
    single = jax.tree.map(lambda part: jnp.asarray(part, jnp.float32), chain)
    assert check_chain(single) is None
    # What is off by more than rounding is refused in float32 too.
    with pytest.raises(ValueError, match=r"transition = off by"):
        check_chain(single._replace(transition=single.transition * 1.001))


@pytest.mark.parametrize("num_states", [5, 257, 1000, 4096])
def test_intervals_never_fall_and_forbidden_states_have_none(num_states):
    generator = np.random.default_rng(267)
    allowed = generator.random((3, num_states)) < 0.1
    allowed[:, num_states // 2] = True
    probabilities = generator.random((3, num_states)) * allowed
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    ends = np.asarray(jax.jit(interval_ends)(probabilities))
    lengths = np.diff(ends, axis=1, prepend=np.float32(0))
    assert lengths.min() >= 0 and not lengths[~allowed].any() and (ends[:, -1] == 1).all()
    np.testing.assert_allclose(lengths, probabilities, atol=3e-7)


def test_forbidden_tokens_are_never_drawn_from_a_thousand_states():
    """Uniforms on, just below and just above every end, where rounding decides."""
    generator = np.random.default_rng(267)
    law = generator.random(1000) * (generator.random(1000) < 0.1)
    ends = interval_ends((law / law.sum())[None])
    edges = np.unique(np.asarray(ends)[0])
    uniforms = np.concatenate([np.nextafter(edges, np.float32(-1)), edges, np.nextafter(edges, np.float32(2)), [0.0]])
    uniforms = np.float32(uniforms[(uniforms >= 0) & (uniforms < 1)])
    table = jnp.broadcast_to(ends, (1000, 1000))
    drawn = jax.jit(lambda u: _successors(table)(jnp.zeros(len(u), jnp.int32), u))(uniforms)
    assert law[np.asarray(drawn)].min() > 0


def test_a_constant_chain_is_not_summed_by_the_compiler():
    chain = MarkovChain(np.full((700, 700), 1 / 700, np.float32), np.full(700, 1 / 700, np.float32))
    start = time.monotonic()
    jax.jit(lambda key: sample_chain(key, chain, 8, 4)).lower(jax.random.key(0)).compile()
    assert time.monotonic() - start < 10  # 60 s where it folds


@pytest.mark.parametrize(("batch", "length", "message"), [(0, 4, "batch = 0"), (4, 0, "length = 0")])
def test_sample_chain_refuses_empty(batch, length, message):
    with pytest.raises(ValueError, match=message):
        sample_chain(jax.random.key(0), make_chain("lazy_uniform", 4, eigenvalue=0.1), batch, length)


@pytest.mark.parametrize("kind", FAMILIES)
def test_chain_is_float64_and_stationary(kind):
    chain = make_chain(kind, 6, **FAMILIES[kind])
    assert chain.transition.dtype == chain.stationary.dtype == np.float64
    assert chain.transition.shape == (6, 6) and chain.transition.min() >= 0
    np.testing.assert_allclose(chain.transition.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(chain.stationary @ chain.transition, chain.stationary, atol=1e-12)
    assert abs(chain.eigenvalues[0] - 1) < 1e-10 and np.all(np.diff(np.abs(chain.eigenvalues)) < 1e-10)


def test_chain_is_a_pytree_of_its_two_arrays():
    chain = make_chain("block", 4, groups=2, persistence=0.4)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, chain)
    assert isinstance(doubled, MarkovChain) and len(jax.tree.leaves(chain)) == 2
    np.testing.assert_array_equal(doubled.transition, 2 * chain.transition)


def test_correlation_length_limits():
    periodic = MarkovChain(np.array([[0.0, 1.0], [1.0, 0.0]]), np.full(2, 0.5))
    assert periodic.correlation_length == np.inf
    assert iid_chain(periodic).correlation_length == 0.0
    assert make_chain("dirichlet_lazy", 5, alpha=-1.0).correlation_length == 0.0


def test_seed_and_concentration_select_the_chain():
    base = make_chain("dirichlet_lazy", 5, alpha=0.2)
    np.testing.assert_array_equal(base.transition, make_chain("dirichlet_lazy", 5, alpha=0.2, seed=0).transition)
    assert np.abs(base.transition - make_chain("dirichlet_lazy", 5, alpha=0.2, seed=1).transition).max() > 0.1
    flat = make_chain("dirichlet_lazy", 5, alpha=0.0, concentration=1e6)
    np.testing.assert_allclose(flat.transition, 0.2, atol=2e-3)


def test_the_control_accepts_traced_chains():
    chain = make_chain("dirichlet_lazy", 5, alpha=0.2)
    for plain, traced in zip(iid_chain(chain), jax.jit(iid_chain)(chain), strict=True):
        np.testing.assert_allclose(traced, plain, rtol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_sample_chain_shape_range_and_jit(length):
    chain = make_chain("dirichlet_lazy", 5, alpha=0.2)
    tokens = sample_chain(jax.random.key(3), chain, 7, length)
    assert tokens.shape == (7, length) and tokens.dtype == jnp.int32
    assert np.min(tokens) >= 0 and np.max(tokens) < 5
    np.testing.assert_array_equal(tokens, SAMPLE(jax.random.key(3), chain, 7, length))
    assert not np.array_equal(tokens, SAMPLE(jax.random.key(4), chain, 7, length))


def test_sample_chain_same_under_x64():
    chain = make_chain("dirichlet_lazy", 16, alpha=0.2)
    with jax.enable_x64(False):
        single = np.asarray(SAMPLE(jax.random.key(3), chain, 40, 30))
    with jax.enable_x64(True):
        double = SAMPLE(jax.random.key(3), chain, 40, 30)
        assert double.dtype == jnp.int32
    np.testing.assert_array_equal(single, double)


def test_sample_chain_never_takes_a_forbidden_step():
    # A forbidden last state is where a cumulative sum ending below 1 would leak.
    transition = np.array([[0.1, 0.9, 0.0], [0.0, 0.3, 0.7], [0.7, 0.3, 0.0]])
    values, vectors = np.linalg.eig(transition.T)
    leading = vectors[:, np.argmax(values.real)].real
    tokens = np.asarray(SAMPLE(jax.random.key(0), MarkovChain(transition, leading / leading.sum()), 500, 200))
    pairs = set(zip(tokens[:, :-1].ravel().tolist(), tokens[:, 1:].ravel().tolist(), strict=True))
    assert pairs == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 1)}


def test_largest_uniform_stays_among_possible_states():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(16), size=500)
    probabilities[:, -1] = 0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    largest = np.full(500, np.nextafter(np.float32(1), np.float32(0)))
    assert jax.jit(lambda u, p: _invert(u, interval_ends(p)))(largest, probabilities).max() == 14


@pytest.mark.parametrize("num_states", [2, 11, 12, 13, 16, 17, 64, 100])
def test_rows_in_blocks_invert_like_whole_rows(num_states):
    generator = np.random.default_rng(num_states)
    transition = generator.dirichlet(np.full(num_states, 0.3), size=num_states)
    transition[:, -1] = 0
    cumulative = jax.jit(interval_ends)(transition / transition.sum(axis=1, keepdims=True))
    tokens = generator.integers(0, num_states, 3000).astype(np.int32)
    below_one = np.nextafter(np.float32(1), np.float32(0))
    uniforms = generator.random(3000).astype(np.float32)
    # Exactly on a threshold, at both ends, and anywhere.
    uniforms[:1000] = np.asarray(cumulative)[tokens[:1000], generator.integers(0, num_states, 1000)]
    uniforms[1000:1100], uniforms[1100:1200] = 0, 1
    uniforms = np.minimum(uniforms, below_one)
    both = jax.jit(lambda c, t, u: (_successors(c)(t, u), _invert(u, c[t])))
    np.testing.assert_array_equal(*both(cumulative, tokens, uniforms))


@pytest.mark.parametrize("num_states", [5, 16, 64])
def test_tokens_are_the_plain_inverse_cdf_of_the_librarys_uniforms(num_states):
    chain = make_chain("dirichlet_lazy", num_states, correlation_length=3.0)
    tokens = np.asarray(SAMPLE(jax.random.key(8), chain, 30, 40))
    uniforms = np.asarray(jax.random.uniform(jax.random.key(8), (40, 30)))
    first, rows = (np.asarray(interval_ends(p)) for p in (chain.stationary[None], chain.transition))
    expected = (uniforms[0][:, None] >= first).sum(axis=1)
    for t in range(40):
        expected = expected if t == 0 else (uniforms[t][:, None] >= rows[expected]).sum(axis=1)
        np.testing.assert_array_equal(tokens[:, t], expected)


def test_vmap_over_chains_equals_one_at_a_time():
    chains = [make_chain("dirichlet_lazy", 16, correlation_length=length) for length in (0.5, 1.0, 7.0)]
    keys = jax.random.split(jax.random.key(1), 3)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *chains)
    together = jax.jit(jax.vmap(lambda key, chain: sample_chain(key, chain, 20, 30)))(keys, stacked)
    for run, chain in enumerate(chains):
        np.testing.assert_array_equal(together[run], SAMPLE(keys[run], chain, 20, 30))


def test_shuffle_time_permutes_each_sequence_by_itself():
    tokens = np.tile(np.arange(50, dtype=np.int32), (4, 1))
    shuffled = np.asarray(SHUFFLE(jax.random.key(0), tokens))
    assert shuffled.dtype == tokens.dtype
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), tokens)
    assert all(not np.array_equal(shuffled[0], other) for other in (tokens[0], *shuffled[1:]))
    np.testing.assert_array_equal(shuffled, shuffle_time(jax.random.key(0), jnp.asarray(tokens)))


@pytest.mark.parametrize("kind", ["dirichlet", "softmax", "banded"])
def test_the_stationary_distribution_moves_with_the_correlation_length(kind):
    entropies = []
    for length in (1.062, 7.09):
        chain = make_chain(kind, 16, correlation_length=length)
        assert chain.correlation_length == pytest.approx(length, rel=1e-8)
        entropies.append(stationary_entropy(chain))
    assert abs(entropies[0] - entropies[1]) > (0.004 if kind == "banded" else 0.3)


def test_a_random_chain_that_cannot_reach_a_length_is_drawn_again(monkeypatch):
    """Of 16 states, the energies of seed 4 never reach seven tokens; the same seed gives the same chain."""
    short, long, again = (make_chain("softmax", 16, correlation_length=x, seed=4) for x in (1.0, 7.09, 7.09))
    assert long.correlation_length == pytest.approx(7.09) and short.correlation_length == pytest.approx(1.0)
    np.testing.assert_array_equal(long.transition, again.transition)
    monkeypatch.setattr(chain_families_moving, "ATTEMPTS", 1)
    with pytest.raises(ValueError, match=r"correlation_length = 7.09: none of 1 chains of kind softmax reaches it"):
        make_chain("softmax", 16, correlation_length=7.09, seed=4)


@pytest.mark.parametrize("concentration", [0.2, 1.0, 30.0])
def test_dirichlet_rows_have_the_moments_of_their_law(concentration):
    """Mean 1/V, and variance (1/V)(1 - 1/V)/(aV + 1): four standard errors over 200 chains of 8 states."""
    entries = np.stack([make_chain("dirichlet", 8, concentration=concentration, seed=s).transition for s in range(200)])
    expected = (1 / 8) * (7 / 8) / (8 * concentration + 1)
    squares = (entries - 1 / 8) ** 2
    error = squares.mean(axis=(1, 2)).std() / np.sqrt(200)
    assert abs(squares.mean() - expected) < 4 * error
    np.testing.assert_allclose(entries.sum(axis=-1), 1, atol=1e-12)
