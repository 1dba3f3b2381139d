r"""Learning of restricted Boltzmann machines: gradients of the log likelihood and steps along them, on the device.

The gradient of $\langle\ln p(v)\rangle_{data}$ is $\langle v_i h_j\rangle_{data} - \langle v_i h_j\rangle_{model}$ for
$W_{ij}$ and likewise $\langle v_i\rangle$, $\langle h_j\rangle$ for the biases. Contrastive divergence (CD-k) takes the
second average after k Gibbs sweeps from the data, persistent contrastive divergence (PCD) after k sweeps of chains that
are never restarted. Steps climb: they are added.
Keys: Hinton2002 = Hinton, Neural Comput. 14 (2002) 1771; HS2006 = Hinton and Salakhutdinov, Science 313 (2006) 504,
with its published code; Tieleman2008 = Tieleman, ICML (2008) 1064; Beck2009 = Beck and Teboulle, SIAM J. Imaging Sci.
2 (2009) 183.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.types import Key
from rgflow.variational_rg.gibbs import gibbs_chain, hidden_means, sample_hidden, sample_visible, visible_means
from rgflow.variational_rg.machine import Machine, free_energy

L1_METHODS = ("sign", "proximal")

Rate = float | int | Float[Array, ""]


class Contrast(NamedTuple):
    """An estimate of the gradient, one Machine of slopes; the chains' last states; the error of reconstruction.

    ``error`` is the mean square over samples and units of the data minus the visible means given hidden states drawn
    from the data, in the machine's own units.
    """

    gradient: Machine
    chain: Float[Array, "C V"]
    error: Float[Array, ""]


def init_machine(key: Key, visible: int, hidden: int, units: str, deviation: Rate = 0.01) -> Machine:
    r"""Draws a machine with weights $W_{ij} \sim N(0, \sigma^2)$ and biases 0, float32.

    The deviation may be traced. Raises ValueError for unknown units.

    >>> init_machine(jax.random.key(0), 4, 3, "spin").weights.shape
    (4, 3)

    Ref: HS2006.
    """
    weights = deviation * jax.random.normal(key, (visible, hidden), jnp.float32)
    return Machine(weights, jnp.zeros(visible, jnp.float32), jnp.zeros(hidden, jnp.float32), units)


def contrast(
    key: Key,
    machine: Machine,
    batch: Float[Array, "B V"],
    sweeps: int,
    chain: Float[Array, "C V"] | None = None,
    mean_field: bool = True,
) -> Contrast:
    r"""Estimates the gradient by k sweeps: $\langle v h\rangle_{data} - \langle v_k\langle h\rangle_{v_k}\rangle$.

    The chains start at the batch (CD-k) or go on from ``chain`` (PCD). As in the published code of HS2006 both averages
    use the means of the hidden units, and hidden states that were drawn drive the chains; with ``mean_field`` the last
    visible layer enters the second average as its means given $h_{k-1}$ (published), without it as states. With states
    the estimate tends to the exact gradient for many sweeps; with means it keeps a bias, since
    $\langle h\rangle_{\langle v\rangle} \neq \langle\langle h\rangle_v\rangle$. The chains themselves always hold
    states. Raises ValueError unless ``sweeps`` is an integer of at least 1.
    Ref: Hinton2002; HS2006; Tieleman2008 for chains that persist.
    """
    if isinstance(sweeps, bool) or not isinstance(sweeps, int) or sweeps < 1:
        raise ValueError(f"sweeps = {sweeps!r}: must be an integer of at least 1")
    start_key, persistent_key, chain_key, last_key = jax.random.split(key, 4)
    seen = sample_hidden(start_key, machine, batch)
    hidden = seen if chain is None else sample_hidden(persistent_key, machine, chain)
    hidden = gibbs_chain(chain_key, machine.transposed, hidden, sweeps - 1)
    # Fields that appear twice, here and in the error of CD-1, are computed once by the compiler.
    states = sample_visible(last_key, machine, hidden)
    fantasy = visible_means(machine, hidden) if mean_field else states
    gradient = jax.tree.map(jnp.subtract, _statistics(machine, batch), _statistics(machine, fantasy))
    return Contrast(gradient, states, jnp.mean((batch - visible_means(machine, seen)) ** 2))


def exact_contrast(
    machine: Machine, probabilities: Float[Array, " states"], states: Float[Array, "states V"]
) -> Machine:
    r"""Returns the exact gradient $\partial_\lambda\sum_v P(v)\ln p_\lambda(v)$ by enumeration of the visible states.

    ``states`` must be all $2^V$ states in the machine's units and ``probabilities`` their probabilities in the data.

    >>> states = jnp.array([[-1.0], [1.0]])
    >>> gradient = exact_contrast(init_machine(jax.random.key(0), 1, 1, "spin", 0.0), jnp.array([0.25, 0.75]), states)
    >>> gradient.visible_bias.tolist()
    [0.5]
    """
    # The gradient is a small difference: the reduced precision that accelerators multiply in by default would show.
    with jax.default_matmul_precision("highest"):
        energies = jax.vmap(free_energy, in_axes=(None, 0))(machine, states)
        return _statistics(machine, states, probabilities - jax.nn.softmax(-energies))


def update(
    machine: Machine,
    velocity: Machine,
    gradient: Machine,
    learning_rate: Rate,
    momentum: Rate,
    l1: Rate,
    method: str = "sign",
) -> tuple[Machine, Machine]:
    r"""Returns the machine and its velocity after one step up, $u' = m u + \epsilon(g - \lambda\,\mathrm{sign} W)$.

    The published rule is "sign" (with sign 0 = 0): weights jitter about 0. With "proximal" the L1 term leaves the
    velocity, and after the step weights shrink towards 0 by $\epsilon\lambda/(1 - m)$, what the velocity would bring in
    the long run, and stay at 0 exactly when they reach it: both methods rest at the same weights. Biases bear no L1
    cost. Rates may be traced, the method not. Raises ValueError for an unknown method.

    >>> one = Machine(jnp.array([[0.05]]), jnp.zeros(1), jnp.zeros(1))
    >>> zero = jax.tree.map(jnp.zeros_like, one)
    >>> [round(float(update(one, zero, zero, 0.1, 0.5, 1.0, method)[0].weights[0, 0]), 6) for method in L1_METHODS]
    [-0.05, 0.0]

    Ref: HS2006 for "sign"; Beck2009 for "proximal".
    """
    if method not in L1_METHODS:
        raise ValueError(f"method = {method!r}: must be one of {', '.join(L1_METHODS)}")
    if method == "sign":
        gradient = dataclasses.replace(gradient, weights=gradient.weights - l1 * jnp.sign(machine.weights))
    # optax.trace does the same, but only with the velocity wrapped into its own state and back; this is one line.
    velocity = jax.tree.map(lambda speed, slope: momentum * speed + learning_rate * slope, velocity, gradient)
    machine = jax.tree.map(jnp.add, machine, velocity)
    if method == "proximal":
        machine = dataclasses.replace(machine, weights=_shrink(machine.weights, learning_rate * l1 / (1 - momentum)))
    return machine, velocity


def _statistics(machine: Machine, visible: Array, shares: Array | None = None) -> Machine:
    """Returns the averages of v h, v and h with the hidden means given v, with equal shares unless they are given."""
    weighted = visible / len(visible) if shares is None else visible * shares[:, None]
    hidden = hidden_means(machine, visible)
    mean_hidden = hidden.mean(0) if shares is None else shares @ hidden
    return Machine(weighted.T @ hidden, weighted.sum(0), mean_hidden, machine.units)


def _shrink(weights: Array, threshold: Rate) -> Array:
    return jnp.sign(weights) * jnp.maximum(jnp.abs(weights) - threshold, 0)
