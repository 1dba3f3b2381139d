r"""Shapes of a run, the samples it draws, and what its network is asked for.

Samples are exact and fresh at every step: nothing can be memorised, and runs of other seeds see other data. Spins are
$\pm1$; fields are as they come. With N sites and M = N / 2^halvings features the targets are

| task                 | target                                              | outputs | loss                         |
|----------------------|-----------------------------------------------------|---------|------------------------------|
| autoencoder          | $x_i$                                               | N       | square; spins: logistic      |
| magnetization        | $\sum_i x_i / \sqrt N$                              | 1       | square                       |
| energy               | $\sum_i x_i x_{i+1} / \sqrt N$                      | 1       | square                       |
| block_magnetizations | $\sum_{i \in I} x_i / \sqrt{N/M}$, the block sums   | M       | square                       |
| classification       | drawn at K (1) or at K' (0)                         | 1       | logistic                     |
| compression          | no network: linear maps of the samples are measured |         |                              |

The linear maps of N sites to M numbers are what features are compared with at equal compression:

| compression          | what it keeps                                                                        |
|----------------------|--------------------------------------------------------------------------------------|
| projection           | M random orthonormal directions                                                      |
| principal_components | the M leading Fourier modes: principal components of any law invariant by a shift    |
| decimation           | every (N/M)-th site                                                                  |
| block_sum            | $\sum_{i \in I} x_i / \sqrt b$ of blocks of b = N/M neighbours                       |

The last two are the renormalization steps themselves, in the order of ``exact.block_moments.SCHEMES``.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rgflow.nets.dense import Bottleneck, halved, one_of
from rgflow.probes.dependence import independent_copy
from rgflow.samplers.fields import sample_fields
from rgflow.samplers.ising import sample_ring
from rgflow.types import Hypers, Key

READOUT_TASKS = ("magnetization", "energy", "block_magnetizations", "classification")
TASKS = ("autoencoder", *READOUT_TASKS, "compression")
COMPRESSIONS = ("projection", "principal_components", "decimation", "block_sum")
SHUFFLES = ("none", "sites")
ONE_GRID = 64
"""Samples of fields that share an offset of the grid they are drawn on."""

ACTIVATIONS = ("tanh", "identity", "relu")


@dataclasses.dataclass(frozen=True)
class Static:
    """What fixes the shapes and the program; the activation, and the task of a network with a readout, are traced."""

    system: str
    head: str
    num_sites: int
    halvings: int
    batch: int
    samples: int
    orbit: int
    points: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer up to the features."""
        return halved(self.num_sites, self.halvings)

    @property
    def num_features(self) -> int:
        """M, the number of features and of block sums."""
        return self.widths[-1]

    def net(self, hypers: Hypers) -> Bottleneck:
        """Returns the network of this run."""
        outputs = self.num_sites if self.head == "decoder" else self.num_features
        return Bottleneck(self.widths, outputs, one_of(ACTIVATIONS, hypers["activation"]), self.head)


class Batch(NamedTuple):
    """Samples, and for each whether it was drawn at the coupling K (1) or at the other one (0)."""

    x: Float[Array, "B N"]
    label: Float[Array, " B"]


def draw_samples(
    static: Static, key: Key, hypers: Hypers, coupling: Float[Array, ""], batch: int
) -> Float[Array, "B N"]:
    """Returns exact samples of the ring; shuffled apart, sites keep their law and lose each other."""
    if static.system == "ising":
        x = sample_ring(key, coupling, static.num_sites, batch).astype(jnp.float32)
    else:
        potential, width = hypers["potential"], hypers["half_width"]
        # Samples of one call lie on one shifted grid, which a median would see: many calls for many samples.
        calls = batch // ONE_GRID if batch % ONE_GRID == 0 else 1
        draw = lambda k: sample_fields(  # noqa: E731
            k, coupling, potential, width, static.num_sites, batch // calls, static.points
        )
        x = jax.lax.map(draw, jax.random.split(key, calls)).reshape(batch, static.num_sites)
    return jnp.where(hypers["shuffled"], independent_copy(x), x)


def draw_batch(static: Static, key: Key, hypers: Hypers, batch: int) -> Batch:
    """Returns a batch at K; to classify, half of it comes from the other coupling."""
    first, second = jax.random.split(key)
    other = jnp.where(_is(hypers, "classification"), hypers["other_coupling"], hypers["coupling"])
    half = batch // 2
    x = [draw_samples(static, first, hypers, hypers["coupling"], half)]
    x.append(draw_samples(static, second, hypers, other, half))
    return Batch(jnp.concatenate(x), jnp.repeat(jnp.array([1.0, 0.0]), half))


def block_sums(x: Float[Array, "B N"], blocks: int) -> Float[Array, "B blocks"]:
    r"""Returns $\sum_{i \in I} x_i / \sqrt b$ of blocks of b neighbours.

    >>> block_sums(jnp.array([[1.0, 1.0, 1.0, 1.0]]), 1).tolist()
    [[2.0]]
    """
    grouped = x.reshape(len(x), blocks, -1)
    return jnp.sum(grouped, axis=-1) / jnp.sqrt(float(grouped.shape[-1]))


def targets(static: Static, data: Batch) -> Float[Array, "tasks B M"]:
    """Returns what every task with a readout asks for, in the order of ``READOUT_TASKS``, zero in unused columns."""
    x = data.x
    scale = jnp.sqrt(float(static.num_sites))
    single = [jnp.sum(x, axis=1) / scale, jnp.sum(x * jnp.roll(x, 1, axis=1), axis=1) / scale, data.label]
    columns = [jnp.zeros((len(x), static.num_features)).at[:, 0].set(values) for values in single]
    return jnp.stack([*columns[:2], block_sums(x, static.num_features), columns[2]])


def _is(hypers: Hypers, task: str) -> Array:
    return hypers["task"] == TASKS.index(task)


def logistic_loss(logits: Float[Array, "B O"], up: Float[Array, "B O"]) -> Float[Array, "B O"]:
    r"""Returns $\ln(1 + e^z) - y z$ in nats.

    >>> round(float(logistic_loss(jnp.zeros((1, 1)), jnp.ones((1, 1)))[0, 0]), 6)
    0.693147
    """
    return jax.nn.softplus(logits) - up * logits


def loss(static: Static, hypers: Hypers, outputs: Float[Array, "B O"], data: Batch) -> Float[Array, ""]:
    """Returns the mean loss over samples and outputs: squares, or nats where the target is a spin or a label."""
    if static.head == "decoder":
        if static.system == "ising":
            return jnp.mean(logistic_loss(outputs, (1 + data.x) / 2))
        return jnp.mean((outputs - data.x) ** 2)
    asked, used = _asked(static, hypers, data)
    square = jnp.mean((outputs - asked) ** 2, axis=0)
    logistic = jnp.mean(logistic_loss(outputs, asked), axis=0)
    by_output = jnp.where(_is(hypers, "classification"), logistic, square)
    return jnp.sum(used * by_output) / jnp.sum(used)


def trivial_loss(static: Static, hypers: Hypers, data: Batch) -> Float[Array, ""]:
    """Returns the loss of the best constant answer: a variance, or ln 2 for spins and labels."""
    if static.head == "decoder":
        return jnp.log(2.0) if static.system == "ising" else jnp.mean(jnp.var(data.x, axis=0))
    asked, used = _asked(static, hypers, data)
    variance = jnp.sum(used * jnp.var(asked, axis=0)) / jnp.sum(used)
    return jnp.where(_is(hypers, "classification"), jnp.log(2.0), variance)


def optimal_loss(static: Static, hypers: Hypers, data: Batch) -> Float[Array, ""]:
    r"""Returns the loss of the best function of x on some samples, NaN where it is not known.

    Sums and energies are functions of x; to classify, the exact log likelihood ratio
    $(K - K') \sum_i x_i x_{i+1} - \ln Z(K) + \ln Z(K')$ is the best there is. What M features leave of an autoencoder
    has no closed form.
    """
    if static.head == "decoder":
        return jnp.array(jnp.nan)
    energy = jnp.sum(data.x * jnp.roll(data.x, 1, axis=1), axis=1)
    ratio = (hypers["coupling"] - hypers["other_coupling"]) * energy - hypers["log_partition_gap"]
    best = jnp.mean(logistic_loss(ratio[:, None], data.label[:, None]))
    return jnp.where(_is(hypers, "classification"), best, 0.0)


def head_of(task: str) -> str:
    """Returns what a task wants behind the features: a mirrored decoder, a linear readout, or no network at all.

    >>> [head_of(task) for task in ("autoencoder", "energy", "compression")]
    ['decoder', 'readout', 'none']
    """
    return {"autoencoder": "decoder", "compression": "none"}.get(task, "readout")


def _asked(static: Static, hypers: Hypers, data: Batch) -> tuple[Float[Array, "B M"], Float[Array, " M"]]:
    """Returns the targets of this run's task and which columns count."""
    which: Int[Array, ""] = hypers["task"] - 1  # the autoencoder has no readout
    asked = targets(static, data)[which]
    blocks = _is(hypers, "block_magnetizations")
    return asked, jnp.where(blocks, 1.0, jnp.zeros(static.num_features).at[0].set(1.0))


def fourier_modes(num_sites: int, modes: int) -> Float[np.ndarray, "M N"]:
    """Returns the M longest waves on a ring, cosine before sine, as orthonormal rows.

    With a positive coupling between neighbours the variance falls with the wave number: these are then the leading
    principal components (a cosine and its sine share theirs).

    >>> fourier_modes(4, 2).round(3).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.707, 0.0, -0.707, -0.0]]
    """
    angles = 2 * np.pi * np.arange(num_sites) / num_sites
    waves = [np.ones(num_sites)]
    for number in range(1, num_sites // 2 + 1):
        waves += [np.cos(number * angles), np.sin(number * angles)]
    rows = np.stack(waves[:num_sites])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True))[:modes]


def decimation_rows(num_sites: int, kept: int) -> Float[np.ndarray, "M N"]:
    """Returns the rows that keep every (N/M)-th site.

    >>> decimation_rows(4, 2).tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    """
    return np.eye(num_sites)[:: num_sites // kept]


def block_rows(num_sites: int, blocks: int) -> Float[np.ndarray, "M N"]:
    r"""Returns the rows that add blocks of neighbours, over $\sqrt b$.

    >>> block_rows(4, 2).round(3).tolist()
    [[0.707, 0.707, 0.0, 0.0], [0.0, 0.0, 0.707, 0.707]]
    """
    size = num_sites // blocks
    return np.kron(np.eye(blocks), np.ones((1, size))) / np.sqrt(size)


def fixed_rows(num_sites: int, features: int) -> Float[np.ndarray, "maps M N"]:
    """Returns the rows of every compression that is not random, in the order of ``COMPRESSIONS[1:]``."""
    makers = (fourier_modes, decimation_rows, block_rows)
    return np.stack([make(num_sites, features) for make in makers])
