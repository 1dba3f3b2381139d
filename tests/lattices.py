"""Equilibrium samples of the square lattice for tests of something else, by packed heat-bath sweeps: the quickest way.

The tests of the samplers themselves compare this very sweep with exact results.
"""

import functools

import jax

from rgflow.samplers.multispin import heat_bath_sweep_packed, pack_lattices, unpack_lattices
from rgflow.samplers.square import start_spins


@functools.partial(jax.jit, static_argnames=("size", "count"))
def heated(key, coupling, size, count, sweeps):
    """Rows [count, size^2] of independent lattices after ``sweeps`` sweeps from random spins; count is 32 times some.

    In the disordered phase a hundred sweeps forget the start at K = 0.3, a thousand at K = 0.408 up to 16 sites a side.
    """
    start_key, sweep_key = jax.random.split(key)
    packed = pack_lattices(start_spins(start_key, size, count))

    def sweep(number, packed):
        return heat_bath_sweep_packed(jax.random.fold_in(sweep_key, number), packed, coupling)

    return unpack_lattices(jax.lax.fori_loop(0, sweeps, sweep, packed)).reshape(count, size**2)
