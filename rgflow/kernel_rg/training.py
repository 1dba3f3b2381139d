r"""Full-batch gradient descent on the energy whose Gibbs measure the theory describes, from weights of the prior.

$E = \frac12 |f - Y|^2 + \frac{\lambda}{2} |\Theta|^2$ with weight decay $\lambda = T/\sigma^2$, none at T = 0. The rate
is in units of $1/\lambda_{max}$ of the tangent kernel at infinite width, $(L + 1) \sigma^{2(L-1)} K_0$.

What theory says of a linear network, and what it does not:

* No weight decay, $P \le N_0$. Gradients of $W_1$ lie in the span of the data, so the rest of $W_1$ stays as drawn and
  never matters to the dynamics. Hence, at any width, the trained output has mean $k_0^T K_0^{-1} Y$ and variance
  $\langle Q \rangle (k_{00} - k_0^T K_0^{-1} k_0)$ over starts: the form of the equilibrium theory at T = 0. In the
  limit of infinite width $Q = \sigma^{2L}$ as there. At finite width nothing says that the Q of training is the Q of
  equilibrium: this is what the room measures.
* Weight decay. The minimum of E is the most probable network of the Gibbs measure at temperature T, not a typical one:
  see :mod:`rgflow.kernel_rg.map_limit`. Starts end there, with no variance, and the theory of the equilibrium at the
  same T does not describe it.

Key: li2021 (the model); standard.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.kernel_rg.network import Static, Weights, hidden_features, outputs
from rgflow.types import Hypers


def energy(static: Static, weights: Weights, hypers: Hypers) -> Float[Array, ""]:
    r"""Returns $\frac12 |f - Y|^2 + \frac{T}{2\sigma^2} |\Theta|^2$."""
    misfit = outputs(weights, hidden_features(static, weights, hypers["inputs"], hypers), hypers) - hypers["targets"]
    norm = sum(jnp.sum(w**2) for w in jax.tree.leaves(weights))
    return misfit @ misfit / 2 + hypers["temperature"] / hypers["sigma2"] * norm / 2


def descend(static: Static, weights: Weights, hypers: Hypers) -> Weights:
    """Takes one step of gradient descent; entries outside the network are zero and stay so."""
    gradient = jax.grad(lambda w: energy(static, w, hypers))(weights)
    rate = hypers["learning_rate"] * hypers["rate_unit"]
    return jax.tree.map(lambda w, g: w - rate * g, weights, gradient)
