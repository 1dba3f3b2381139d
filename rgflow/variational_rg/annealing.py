r"""Annealed importance sampling of the partition function of a restricted Boltzmann machine, on the device.

Chains are drawn exactly from a base machine $p_0(v, h) \propto e^{c_0 \cdot v}$ without weights and led along
$p_t(v) \propto e^{((1-t)c_0 + tc) \cdot v} \prod_j \sum_{h_j} e^{t(b + W^T v)_j h_j}$, t = 0..1, by one Gibbs sweep at
each temperature. With $p^*_t$ the unnormalised law, the weight $w = \prod_t p^*_t(v_t)/p^*_{t-1}(v_t)$ of a chain has
the mean $Z/Z_0$ for any number of temperatures, and a spread that falls as it grows. Energies in nats.
Key: SM2008 = Salakhutdinov and Murray, ICML (2008) 872.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.types import Key
from rgflow.variational_rg.gibbs import sample_units
from rgflow.variational_rg.machine import Machine, log_unit_sum


class LogPartition(NamedTuple):
    r"""An estimate of $\ln Z$ in nats, its standard error, and how many chains carry it, $(\sum w)^2/\sum w^2$.

    With few effective chains both numbers mean little: the estimate is then too low as a rule and the error too small.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    effective_chains: Float[Array, ""]


def base_bias(means: Float[Array, " V"], units: str) -> Float[Array, " V"]:
    r"""Returns the visible bias of independent units with the given means, $\mathrm{artanh}\, m$ or $\ln(m/(1-m))$.

    Probabilities are kept 0.01 away from 0 and 1, since a base that excludes states cannot be annealed.

    >>> [round(float(base_bias(jnp.array([0.5]), units)[0]), 6) for units in ("spin", "binary")]
    [0.549306, 0.0]

    Ref: SM2008.
    """
    spin = units == "spin"
    probability = jnp.clip((1 + means) / 2 if spin else means, 0.01, 1 - 0.01)
    field = jnp.log(probability) - jnp.log1p(-probability)
    return field / 2 if spin else field


def log_partition_estimate(
    key: Key, machine: Machine, chains: int, temperatures: int, bias: Float[Array, " V"]
) -> LogPartition:
    r"""Estimates $\ln Z = \ln Z_0 + \ln\langle w\rangle$ with chains that climb evenly spaced temperatures.

    ``bias`` is the base's $c_0$, best :func:`base_bias` of the data. The error is that of the mean weight carried over
    to its logarithm, $s_w/(\langle w\rangle\sqrt{C})$; the logarithm of a mean lies below $\ln Z$ by half its square on
    average. ``chains`` and ``temperatures`` are static. Raises ValueError for fewer than 2 chains or 1 temperature.

    >>> alone = Machine(jnp.zeros((3, 2)), jnp.zeros(3), jnp.zeros(2))
    >>> result = log_partition_estimate(jax.random.key(0), alone, 4, 5, jnp.zeros(3))
    >>> bool(abs(result.value - 5 * jnp.log(2)) < 1e-5), float(result.effective_chains)
    (True, 4.0)

    Ref: SM2008.
    """
    if chains < 2 or temperatures < 1:
        raise ValueError(f"chains, temperatures = {chains}, {temperatures}: must be at least 2 and 1")
    # Reduced precision, the default of accelerators, would shift ln Z: weights act on it through thousands of units.
    with jax.default_matmul_precision("highest"):
        log_weights = _climb(key, machine, chains, temperatures, bias)
    num_hidden = machine.hidden_bias.shape[0]
    log_base = log_unit_sum(bias, machine.units).sum() + num_hidden * jnp.log(2.0)
    weights = jnp.exp(log_weights - log_weights.max())
    value = log_base + log_weights.max() + jnp.log(weights.mean())
    error = weights.std(ddof=1) / (weights.mean() * chains**0.5)
    return LogPartition(value, error, weights.sum() ** 2 / (weights**2).sum())


def _climb(key: Key, machine: Machine, chains: int, temperatures: int, bias: Array) -> Float[Array, " C"]:
    """Returns the log weights of chains led from the base to the machine."""
    base_key, climb_key = jax.random.split(key)
    visible = sample_units(base_key, jnp.broadcast_to(bias, (chains, bias.shape[0])), machine.units)

    def step(carry: tuple[Array, Array], index: Array) -> tuple[tuple[Array, Array], None]:
        states, log_weights = carry
        before, after = index / temperatures, (index + 1) / temperatures
        field = states @ machine.weights + machine.hidden_bias[None, :]
        # Differences unit by unit: those of whole free energies would round away what one temperature adds.
        gain = log_unit_sum(after * field, machine.units) - log_unit_sum(before * field, machine.units)
        shift = (after - before) * (machine.visible_bias - bias)
        up_key, down_key = jax.random.split(jax.random.fold_in(climb_key, index))
        hidden = sample_units(up_key, after * field, machine.units)
        tilt = bias + after * (machine.visible_bias - bias)
        states_after = sample_units(down_key, after * hidden @ machine.weights.T + tilt[None, :], machine.units)
        return (states_after, log_weights + gain.sum(1) + states @ shift), None

    start = (visible, jnp.zeros(chains, visible.dtype))
    return jax.lax.scan(step, start, jnp.arange(temperatures))[0][1]
