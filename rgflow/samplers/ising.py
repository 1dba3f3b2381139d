r"""Ising samples: exact ones on the ring, equilibrium ones on the periodic square lattice.

$p(s) \propto e^{K \sum_{\langle ij\rangle} s_i s_j}$ with spins $\pm1$ in int8 and $K = \beta J$ of either sign.
Couplings are traced, so that a sweep over them shares one compiled program.
Keys: SW1987 = Swendsen and Wang, Phys. Rev. Lett. 58 (1987) 86; Sokal1997 = Sokal, Monte Carlo Methods in Statistical
Mechanics, in Functional Integration (1997) 131.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Int8

from rgflow.samplers.equilibration import Agreement, compare_starts, in_equilibrium
from rgflow.samplers.square import SWEEPS, Coupling, Observables, Spins, observe, start_spins
from rgflow.samplers.threefry import random_uniform
from rgflow.types import Key

CHUNK = 32
"""Sweeps per compiled call; the two starts are compared whenever the number of sweeps has doubled."""

LEAST_WALKERS = 16
"""Smallest number of lattices simulated at once: with fewer per start a standard error means little."""

SITES_AT_ONCE = 2**18
"""Sites simulated at once by default: they fill the vector units and still fit the cache of a CPU."""

TIMES_APART = 4.0
"""Autocorrelation times between samples from one walker: an exponential correlation is then below 2 %."""

Count = int | Int[Array, ""]


class SquareReport(NamedTuple):
    """How samples of the square lattice were made.

    ``discarded`` is the number of sweeps before the first sample, ``spacing`` the number between samples from one
    walker. Sample b comes from walker b mod ``walkers``, and samples from different walkers are independent. ``energy``
    and ``squared_magnetization`` say how well the hot and the cold start agreed, and give autocorrelation times in
    sweeps.
    """

    method: str
    discarded: int
    spacing: int
    walkers: int
    energy: Agreement
    squared_magnetization: Agreement


def sample_ring(key: Key, coupling: Coupling, num_sites: int, batch: int) -> Int8[Array, "B sites"]:
    r"""Returns independent exact samples of the Ising ring from its bonds, $b_i = s_i s_{i+1}$ with $\prod_i b_i = 1$.

    The bonds are drawn one after the other. With $t = \tanh K$, n bonds left and $\sigma$ the product that these must
    have, the next bond is broken with probability $q (1 - \sigma t^{n-1}) / (1 + \sigma t^n)$, $q = 1/(1 + e^{2K})$.
    There is no Markov chain and nothing to equilibrate. Int8 of shape (batch, num_sites); ``coupling`` may be traced.
    Two sites have two bonds between them. Raises ValueError for fewer than 2 sites, a batch below 1, and a coupling
    that is not finite.

    >>> sample_ring(jax.random.key(0), 50.0, 6, 1).sum().item() in (-6, 6)
    True
    """
    _check_coupling(coupling)
    if num_sites < 2 or batch < 1:
        raise ValueError(f"num_sites, batch = {num_sites}, {batch}: must be at least 2 and 1")
    # An antiferromagnet is a ferromagnet in the bonds -b, whose product must be -1 on an odd ring.
    sign = jnp.where(jnp.asarray(coupling) < 0, -1, 1)
    wanted = jnp.broadcast_to(sign**num_sites, (batch,))
    bond_key, first_key = jax.random.split(key)
    uniforms = random_uniform(bond_key, (num_sites, batch))

    def advance(wanted: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        uniform, left = inputs
        bond = jnp.where(uniform < _chance_of_broken(jnp.abs(coupling), left, wanted), -1, 1)
        return wanted * bond, bond

    bonds = jax.lax.scan(advance, wanted, (uniforms, jnp.arange(num_sites, 0, -1)))[1]
    first = jax.random.rademacher(first_key, (1, batch), jnp.int32)
    steps = jnp.concatenate([first, sign * bonds[:-1]])
    return jnp.cumprod(steps, axis=0).T.astype(jnp.int8)


def sample_square(
    key: Key,
    coupling: Coupling,
    size: int,
    batch: int,
    method: str = "swendsen_wang",
    walkers: int | None = None,
    max_sweeps: int = 16384,
) -> Int8[Array, "B side side"]:
    r"""Returns equilibrium samples of the periodic square lattice, int8 of shape (batch, size, size).

    They are those of :func:`sample_square_with_report`, with its arguments and errors.
    """
    return sample_square_with_report(key, coupling, size, batch, method, walkers, max_sweeps)[0]


def sample_square_with_report(
    key: Key,
    coupling: Coupling,
    size: int,
    batch: int,
    method: str = "swendsen_wang",
    walkers: int | None = None,
    max_sweeps: int = 16384,
) -> tuple[Int8[Array, "B side side"], SquareReport]:
    r"""Returns equilibrium samples of the periodic square lattice, and how they were equilibrated and spaced.

    ``walkers`` lattices are simulated at once: an even number, by default as many as the batch up to a total of 2^18
    sites. Half of them start hot and half cold. Sweeps go on until the energies and squared magnetizations of the two
    halves agree within 3 standard errors over the last half of all sweeps, which must last 20 $\tau$. After that each
    walker gives samples 4 $\tau$ apart. ``method`` is ``swendsen_wang`` or, on even sizes, ``heat_bath``.

    The function runs on the host around compiled sweeps, so that ``coupling`` cannot be traced. Raises ValueError for a
    coupling that is not finite, a size below 2 or odd for ``heat_bath``, a batch below 1, an unknown method, and
    walkers that are odd or below 16; raises RuntimeError if the starts still differ after ``max_sweeps``.
    Ref: SW1987; Sokal1997.
    """
    _check_square(coupling, size, batch, method, walkers)
    if walkers is None:
        most = max(SITES_AT_ONCE // size**2 // 2 * 2, LEAST_WALKERS)
        walkers = min(max(batch + batch % 2, LEAST_WALKERS), most)
    start_key, sweep_key = jax.random.split(key)
    coupling = jnp.asarray(coupling, jnp.float32)
    spins = jnp.concatenate([start_spins(start_key, size, walkers // 2, start) for start in ("hot", "cold")])
    spins, sweeps, agreements = _equilibrate(sweep_key, spins, coupling, method, max_sweeps)
    spacing = math.ceil(TIMES_APART * max(found.autocorrelation.time for found in agreements))
    rounds = [spins]
    for number in range(1, -(-batch // walkers)):
        start = sweeps + (number - 1) * spacing
        rounds.append(_advance(sweep_key, rounds[-1], coupling, start, spacing, method))
    report = SquareReport(method, sweeps, spacing, walkers, *agreements)
    # The order of the walkers must not tell how they started: hot ones before cold ones would.
    return jnp.concatenate([_interleave(spins) for spins in rounds])[:batch], report


def _equilibrate(
    key: Key, spins: Spins, coupling: Float[Array, ""], method: str, max_sweeps: int
) -> tuple[Spins, int, list[Agreement]]:
    """Returns spins after the two halves of the walkers agree, the number of sweeps made, and the agreements."""
    series: list[Observables] = []
    compare_at, agreements = 2, []
    while len(series) * CHUNK < max_sweeps:
        spins, observed = _watch(key, spins, coupling, len(series) * CHUNK, method)
        series.append(jax.tree.map(np.asarray, observed))
        if len(series) < compare_at:
            continue
        compare_at *= 2
        watched = [np.concatenate(parts).T for parts in zip(*series[len(series) // 2 :], strict=True)]
        half = len(spins) // 2
        agreements = [compare_starts(values[:half], values[half:]) for values in watched]
        if in_equilibrium(agreements, len(spins), watched[0].shape[1]):
            return spins, len(series) * CHUNK, agreements
    found = ", ".join(f"{deviation:.1f} errors apart at time {time.time:.1f}" for deviation, time in agreements)
    # Clusters cannot help themselves, nor a frustrated lattice, where they span the system.
    advice = "" if method == "swendsen_wang" else ", or take method = 'swendsen_wang'"
    raise RuntimeError(
        f"max_sweeps = {max_sweeps}: hot and cold start have not met ({found or 'never compared'}); "
        f"allow more sweeps{advice}{_frustration(coupling, spins.shape[-1])}"
    )


def _frustration(coupling: Float[Array, ""], size: int) -> str:
    if float(coupling) >= 0 or size % 2 == 0:
        return ""
    return f"; at coupling = {float(coupling):g} a lattice of odd size is frustrated: take an even size"


@functools.partial(jax.jit, static_argnames="method")
def _watch(key: Key, spins: Spins, coupling: Float[Array, ""], start: Count, method: str) -> tuple[Spins, Observables]:
    def sweep(spins: Spins, number: Array) -> tuple[Spins, Observables]:
        spins = SWEEPS[method](jax.random.fold_in(key, number), spins, coupling)
        return spins, observe(spins)

    return jax.lax.scan(sweep, spins, start + jnp.arange(CHUNK))


@functools.partial(jax.jit, static_argnames="method")
def _advance(key: Key, spins: Spins, coupling: Float[Array, ""], start: Count, sweeps: Count, method: str) -> Spins:
    def sweep(number: Array, spins: Spins) -> Spins:
        return SWEEPS[method](jax.random.fold_in(key, number), spins, coupling)

    return jax.lax.fori_loop(start, start + sweeps, sweep, spins)


def _interleave(spins: Spins) -> Spins:
    halves = spins.reshape(2, -1, *spins.shape[1:])
    return jnp.swapaxes(halves, 0, 1).reshape(spins.shape)


def _chance_of_broken(strength: Float[Array, ""], left: Array, wanted: Array) -> Float[Array, " B"]:
    """Returns the chance that the next of ``left`` bonds is broken if their product must be ``wanted``."""
    # Above 30 chances no longer change and float32 would divide 0 by 0; below 1e-30 powers of tanh are 0.
    strength = jnp.clip(strength, 1e-30, 30.0)
    broken = jax.nn.sigmoid(-2 * strength)
    log_tanh = jnp.where(strength < 0.5, jnp.log(jnp.tanh(strength)), jnp.log1p(-2 * jnp.minimum(broken, 0.4)))

    def even_odd(power: Array) -> Array:
        # 1 + t^n for a wanted product of 1; for -1 it is 1 - t^n, without cancellation.
        exponent = jnp.where(power == 0, 0.0, power * log_tanh)
        return jnp.stack([1 + jnp.exp(exponent), -jnp.expm1(exponent)])

    now, after = even_odd(left), even_odd(left - 1)
    return broken * jnp.where(wanted > 0, after[1] / now[0], after[0] / now[1])


def _check_coupling(coupling: Coupling) -> None:
    # A traced coupling has no value yet and cannot be checked.
    if not isinstance(coupling, Tracer) and not np.isfinite(np.asarray(coupling)):
        raise ValueError(f"coupling = {coupling}: must be finite")


def _check_square(coupling: Coupling, size: int, batch: int, method: str, walkers: int | None) -> None:
    if isinstance(coupling, Tracer):
        raise ValueError("coupling = traced: equilibration is decided on the host, take the sweeps of samplers.square")
    _check_coupling(coupling)
    if method not in SWEEPS:
        raise ValueError(f"method = {method!r}: must be one of {', '.join(SWEEPS)}")
    if size < 2 or batch < 1:
        raise ValueError(f"size, batch = {size}, {batch}: must be at least 2 and 1")
    if method == "heat_bath" and size % 2:
        raise ValueError(f"size = {size}: a periodic checkerboard needs an even number of sites a side")
    if walkers is not None and (walkers < LEAST_WALKERS or walkers % 2):
        raise ValueError(f"walkers = {walkers}: must be an even number of at least {LEAST_WALKERS}")
