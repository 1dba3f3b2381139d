"""What does not depend on units by its definition does not depend on them in float32: from 1e-30 to 1e30."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgflow.probes.dependence import correlations, excess_kurtosis, mutual_information
from rgflow.probes.gauges import GAUGES, apply_gauge, binarise
from rgflow.probes.kernel import cka, drift_concentration, kernel_drift, relative_update
from rgflow.probes.linear import held_out_r2
from rgflow.probes.receptive_fields import measure_fields
from rgflow.probes.score_matching import score_matching
from rgflow.probes.spectrum import RANK_MEASURES, numerical_rank, singular_values, weighted_rows

SCALES = [1e-30, 1e-20, 1e-18, 3e17, 1e18, 1e30]
HALF = jnp.arange(400) < 200


def data(columns=4):
    mixing = np.random.default_rng(1).standard_normal((columns, columns))
    return np.random.default_rng(0).standard_normal((400, columns)) ** 3 @ mixing + 0.3


def ranks(x):
    values = singular_values(weighted_rows(x, jnp.full(len(x), 2), center=True))
    return [measure(values) for measure in RANK_MEASURES.values()] + [numerical_rank(values, (400, 4))]


def standardised_couplings(x):
    """Couplings of standardised features, the only ones without a unit."""
    return score_matching(apply_gauge(x, "standardised"), (2,)).values.couplings


WITHOUT_UNITS = {
    "ranks": ranks,
    "correlations": correlations,
    "excess_kurtosis": excess_kurtosis,
    "mutual_information": mutual_information,
    "binarise": binarise,
    **{gauge: lambda x, gauge=gauge: apply_gauge(x, gauge) for gauge in GAUGES if gauge != "raw"},
    "raw": lambda x: apply_gauge(x, "raw") / jnp.max(jnp.abs(apply_gauge(x, "raw"))),
    "score_matching": standardised_couplings,
    "cka": lambda x: cka(x, x[:, :2] - x[:, 2:]),
    "kernel_drift": lambda x: kernel_drift(jnp.stack([x, x[:, ::-1], x * jnp.arange(4.0)[None, :]])),
    "drift_concentration": lambda x: drift_concentration(jnp.abs(x), 2),
    "relative_update": lambda x: relative_update(jnp.stack([x, x[:, ::-1]])),
    "held_out_r2": lambda x: held_out_r2(x, (x[:, :2] / jnp.max(jnp.abs(x))) ** 3, HALF, ~HALF),
    "target of held_out_r2": lambda x: held_out_r2(jnp.asarray(data(2), jnp.float32), x, HALF, ~HALF),
    "receptive fields": lambda x: measure_fields(x, 20)._replace(centre=jnp.zeros(0)),
}


@pytest.mark.parametrize("name", WITHOUT_UNITS)
def test_units_do_not_matter(name):
    function = jax.jit(WITHOUT_UNITS[name])
    expected = function(jnp.asarray(data(), jnp.float32))
    for scale in SCALES:
        # A power of two is exact, so that nothing but the range of the type can make a difference.
        found = function(jnp.asarray(data() * 2.0 ** round(np.log2(scale)), jnp.float32))
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert np.isfinite(other).all()
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6, err_msg=f"{name} at {scale:g}")


def test_each_feature_may_have_its_own_unit():
    sizes = np.array([1e-30, 1.0, 1e20, 1e30])
    one, other = (apply_gauge(jnp.asarray(data() * size, jnp.float32), "standardised") for size in (sizes, np.ones(4)))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("largest", [1e37, 8e37, 1e38, 3e38])
def test_ranks_of_the_largest_floats(largest):
    """A compiler may divide by the largest value through its inverse, which is subnormal there."""
    values = jnp.array([largest, largest], jnp.float32)
    for measure in RANK_MEASURES.values():
        assert float(jax.jit(measure)(values)) == pytest.approx(2, rel=1e-6)
    np.testing.assert_allclose(singular_values(jnp.diag(values)), values, rtol=1e-6)
