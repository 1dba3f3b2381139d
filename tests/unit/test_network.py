"""`rgflow.probes.measure` on arrays, against float64 references, and what it refuses."""

import subprocess
import sys
import warnings

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from flax import nnx

from rgflow import probes
from rgflow.probes import measure

ROWS = 60
RANKS = ("effective_rank", "energy_rank", "participation_ratio", "stable_rank", "numerical_rank")


def activations(*widths, seed=0):
    """Random layers with unequal columns and a mean, so that centring matters."""
    rng = np.random.default_rng(seed)
    return [((rng.normal(size=(ROWS, d)) + 0.5) * np.linspace(1, 3, d)).astype(np.float32) for d in widths]


def reference_ranks(x):
    s = np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)
    p, q = s / s.sum(), s**2 / (s**2).sum()
    numerical = np.sum(s > max(x.shape) * np.finfo(np.float32).eps * s[0])
    return [np.exp(-p @ np.log(p)), np.exp(-q @ np.log(q)), 1 / (q @ q), (s**2).sum() / s[0] ** 2, numerical]


def reference_drift(x, y):
    kernels = [np.asarray(h, np.float64) @ np.asarray(h, np.float64).T for h in (x, y)]
    kernels = [k / np.linalg.norm(k) for k in kernels]
    return 1 - np.sum(kernels[0] * kernels[1])


def test_ranks_are_those_of_a_float64_svd():
    layers = activations(3, 5, 5)
    found = measure(layers)
    for centring, shift in (("uncentred", 0), ("centred", 1)):
        expected = np.transpose([reference_ranks(x - shift * x.mean(0)) for x in layers])
        for name, values in zip(RANKS, expected, strict=True):
            measured = found[name].sel(level="position", centring=centring)
            np.testing.assert_allclose(measured, values, rtol=1e-5, err_msg=name)


def test_drifts_are_those_of_explicit_gram_matrices_for_any_widths():
    layers = activations(4, 4, 6, 2)
    found = measure(layers)
    for centring, shift in (("uncentred", 0), ("centred", 1)):
        h = [x - shift * x.mean(0) for x in layers]
        expected = [reference_drift(h[k], h[k + 1]) for k in range(3)]
        drift = found.kernel_drift.sel(level="position", centring=centring)
        np.testing.assert_allclose(drift, expected, rtol=1e-4)
        np.testing.assert_allclose(
            found.frobenius_drift.sel(level="position", centring=centring), np.sqrt(2 * drift), rtol=1e-5
        )
    update = found.relative_update.sel(level="position").values
    np.testing.assert_allclose(update[0], np.linalg.norm(layers[1] - layers[0]) / np.linalg.norm(layers[0]), rtol=1e-5)
    assert np.isnan(update[1:]).all()


def test_list_stack_and_further_axes_are_the_same():
    layers = activations(4, 4)
    expected = measure(layers)
    xr.testing.assert_identical(measure(np.stack(layers)), expected)
    xr.testing.assert_identical(measure(jnp.stack(layers).reshape(2, 6, 10, 4)), expected)
    xr.testing.assert_identical(measure([x.reshape(6, 10, 4) for x in layers]), expected)


def test_labels_and_stacking_are_those_of_the_results_file():
    layers = activations(4, 4, 4)
    found = measure(layers, layers=["a", "b", "c"])
    assert found.effective_rank.dims == ("level", "centring", "layer")
    assert found.kernel_drift.dims == found.frobenius_drift.dims == ("level", "centring", "transition")
    assert found.relative_update.dims == ("level", "transition")
    assert found.level.values.tolist() == ["position"]
    assert found.centring.values.tolist() == ["uncentred", "centred"]
    assert found.layer.values.tolist() == [0, 1, 2]
    assert found.transition.values.tolist() == [0, 1]
    assert found.layer_name.values.tolist() == ["a", "b", "c"]
    assert found.attrs == {"rows": ROWS}
    runs = [xr.concat([found, found], xr.IndexVariable("step", [0, 100])) for _ in range(3)]
    joined = xr.concat(runs, "run")
    assert joined.effective_rank.dims == ("run", "step", "level", "centring", "layer")
    assert joined.layer_name.dims == ("layer",)


def test_a_single_layer_has_no_transition():
    found = measure(activations(4))
    assert found.sizes["transition"] == 0
    assert np.isfinite(found.effective_rank).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_layer_that_is_not_finite_is_nan_for_itself_only(bad):
    layers = activations(4, 4, 4)
    whole = measure(layers)
    layers[1][3, 2] = bad
    found = measure(layers)
    for name in RANKS:
        assert np.isnan(found[name].sel(layer=1)).all()
        xr.testing.assert_identical(found[name].sel(layer=[0, 2]), whole[name].sel(layer=[0, 2]))
    assert np.isnan(found.kernel_drift).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 3e7])
def test_a_constant_layer_is_nan_and_not_of_rank_one(value):
    found = measure([*activations(4), np.full((ROWS, 4), value, np.float32)])
    for name in RANKS:
        assert np.isnan(found[name].sel(layer=1)).all(), name
        assert np.isfinite(found[name].sel(layer=0)).all(), name
    assert np.isnan(found.kernel_drift).all()
    assert np.isnan(found.relative_update).all()


def test_integers_and_half_precision_are_measured_in_float32():
    x = np.random.default_rng(0).integers(0, 50, (ROWS, 3))
    expected = measure([x.astype(np.float32)])
    xr.testing.assert_identical(measure([x]), expected)
    xr.testing.assert_identical(measure([jnp.asarray(x, jnp.bfloat16)]), expected)


def test_few_rows_are_warned_of():
    with pytest.warns(UserWarning, match="60 rows for the 7 columns of layer 'wide'"):
        measure(activations(4, 7), layers=["narrow", "wide"])


def test_ten_rows_per_column_are_enough():
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        measure(activations(4, 6))
    assert not [w for w in given if issubclass(w.category, UserWarning)]


def test_the_probes_are_imported_without_what_labels_need():
    code = "import sys, rgflow.probes.kernel as k; assert 'xarray' not in sys.modules; k.__name__"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        _ = probes.nothing


LINEN, NNX = nn.Dense(2), nnx.Linear(4, 2, rngs=nnx.Rngs(0))
ONES = np.ones((ROWS, 4), np.float32)
REFUSED = {
    "network: no array": (([],), {}),
    "network: shape (60, 4) is no network": ((ONES,), {}),
    "network: str is no network": (("resnet",), {}),
    "network: layer '1' has shape (4,)": (([ONES, ONES[0]],), {}),
    "network: layer '0' has shape (0, 4)": (([ONES[:0]],), {}),
    "network: layer '0' has type complex64": (([ONES * 1j],), {}),
    "network: layer '0' is dict": (([{"a": ONES}],), {}),
    "network: layer 'y' has 59 rows where 'x' has 60": (([ONES, ONES[1:]],), {"layers": ["x", "y"]}),
    "layers: 1 names for 2 arrays": (([ONES, ONES],), {"layers": ["x"]}),
    "layers: a predicate for 1 arrays": (([ONES],), {"layers": bool}),
    "batch: given with arrays": (([ONES], ONES), {}),
    "variables: given with arrays": (([ONES],), {"variables": {}}),
    "layer: given with arrays": (([ONES],), {"layer": ["x"]}),
    "batch: None with a Flax module": ((NNX,), {}),
    "variables: None with a linen module": ((LINEN, ONES), {}),
    "variables: given with an nnx module": ((NNX, ONES), {"variables": {}}),
    "layers: 'y' does not exist; allowed: output": ((NNX, ONES), {"layers": ["output", "y"]}),
    "layers: none is left; allowed: some of output": ((NNX, ONES), {"layers": lambda _: False}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_in_one_line(message):
    arguments, options = REFUSED[message]
    with pytest.raises(ValueError, match=r"; allowed: ") as refused:
        measure(*arguments, **options)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
