"""What is recorded of one run: means since the last record (chains) or present values (trainings), and distances."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.kernel_rg import hmc
from rgflow.kernel_rg.dynamics import RunState
from rgflow.kernel_rg.network import (
    Static,
    active_layers,
    all_inputs,
    hidden_features,
    layer_kernels,
    observables,
)
from rgflow.types import Hypers, Key, Record

DIMS = {
    "prediction": ("test",),
    "prediction_square": ("test",),
    "kernel_projection": ("layer",),
    "kernel_trace": ("layer",),
    "kernel_distance": ("theory", "layer"),
}


def kernel_distance(
    kernels: Float[Array, "L P P"], theory: Float[Array, "theories L P P"]
) -> Float[Array, "theories L"]:
    r"""Returns $|\bar K_l - K_l^{theory}| / |K_l^{theory}|$ in Frobenius norm, NaN where a theory has no kernel."""
    difference = jnp.sqrt(jnp.sum((kernels[None] - theory) ** 2, axis=(-2, -1)))
    return difference / jnp.sqrt(jnp.sum(theory**2, axis=(-2, -1)))


def probe(static: Static, key: Key, state: RunState, hypers: Hypers) -> Record:
    """Returns the record of one run; NaN in layers above its depth, and for a chain before its first sweep."""
    del key
    if static.sampler == "trained":
        features = hidden_features(static, state.weights, all_inputs(hypers), hypers)
        means, kernels = observables(static, state.weights, features, hypers), layer_kernels(static, features, hypers)
        means = {**means, "acceptance": jnp.nan * jnp.zeros(())}
    else:
        means, kernels = {name: total / state.count for name, total in state.sums.items()}, state.kernels
    real = active_layers(static, hypers)
    means |= {name: jnp.where(real, means[name], jnp.nan) for name in ("kernel_projection", "kernel_trace")}
    nothing = jnp.full((), jnp.nan)
    return {
        **means,
        "scale": means["scale"] if static.activation == "linear" else nothing,
        "kernel_distance": jnp.where(real[None], kernel_distance(kernels, hypers["theory_kernels"]), jnp.nan),
        "step_size": hmc.tuned_step_size(state.adaptation) if static.sampler == "hmc" else nothing,
    }
