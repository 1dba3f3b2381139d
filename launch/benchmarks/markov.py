"""Tokens of Markov chains, in the batches that a training step draws, against QuantEcon's compiled simulation.

rgflow draws 32 x 64 tokens per run and step, two runs at a time on each core, as a sweep does; the peer draws long
series, which is what suits it. Where the time goes (one core, 16 states, before what is described next): 63 % random
bits, 37 % the scan, of which about a third is the overhead of its steps and the rest the inverse of the CDF. What
changed, with the same tokens: the cipher as one vectorised pass over all numbers (JAX runs its rounds as a loop over
arrays, and its consumers made the compiler repeat it), and rows of sqrt(V) entries read twice instead of V once:
3.5 to 4 times as fast together. Tried and dropped: alias tables (built anew for every traced chain), binary search
and one gather per threshold (the compiler emits scalar loads), unrolled scans, both halves of each cipher block (other
numbers, no faster), a backward half of the sequence from the reversed chain (half the steps, other numbers, no faster).
"""

import numpy as np

from launch.benchmarks.cases import Case, Contender, Outcome, Peer

BATCH, LENGTH, CORRELATION_LENGTH = 32, 64, 4.0
RUNS_PER_CORE = 2
SIZES = {False: (1000, 4_000_000), True: (3, 40_000)}
"""Training steps of rgflow and tokens of the peer in one repetition, at full size and for --tiny."""


def _chain(num_states: int):
    from rgflow.samplers.markov import make_chain

    return make_chain("dirichlet_lazy", num_states, correlation_length=CORRELATION_LENGTH)


def make_rgflow(num_states: int, steps: int):
    """Prepares the sampler in a loop over steps, vmapped over runs that are spread over the cores as the engine does.

    A step counts how many tokens equal the one before, so that none is drawn in vain.
    """
    from launch import environment

    runs = RUNS_PER_CORE * environment.cores()
    environment.configure(runs=runs)
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec

    from rgflow.engine import mesh
    from rgflow.samplers.markov import MarkovChain, sample_chain

    def count(step, key, chain):
        tokens = sample_chain(jax.random.fold_in(key, step), chain, BATCH, LENGTH)
        return jnp.sum(tokens[:, 1:] == tokens[:, :-1], dtype=jnp.int32)

    def advance(start, key, chain):
        body = lambda step, total: total + jax.vmap(count, in_axes=(None, 0, 0))(step, key, chain)  # noqa: E731
        return jax.lax.fori_loop(start, start + steps, body, jnp.zeros(key.shape, jnp.int32))

    devices = mesh.run_mesh(runs, RUNS_PER_CORE)
    over_runs = PartitionSpec(mesh.RUN_AXIS)
    specs = {"in_specs": (PartitionSpec(), over_runs, over_runs), "out_specs": over_runs}
    repeated = jax.jit(jax.shard_map(advance, mesh=devices, check_vma=False, **specs))
    chain = _chain(num_states)
    spread = lambda x: mesh.spread(np.broadcast_to(np.float32(x), (runs, *x.shape)), devices)  # noqa: E731
    stacked = MarkovChain(spread(chain.transition), spread(chain.stationary))
    keys = jax.device_put(jax.random.split(jax.random.key(0), runs), mesh.over_runs(devices))
    done = 0

    def repeat() -> Outcome:
        nonlocal done
        equal = int(np.sum(repeated(np.int32(done), keys, stacked), dtype=np.int64))
        done += steps
        return Outcome(runs * steps * BATCH * LENGTH, equal / (runs * steps * BATCH * (LENGTH - 1)))

    return repeat


def make_quantecon(num_states: int, tokens: int):
    """Prepares MarkovChain.simulate: one long series, with NumPy's newer generator, its faster choice."""
    from quantecon import MarkovChain  # pyright: ignore[reportMissingImports]

    chain = MarkovChain(_chain(num_states).transition)
    generator = np.random.default_rng(0)
    chain.simulate(100, random_state=generator)

    def repeat() -> Outcome:
        series = chain.simulate(tokens, random_state=generator)
        return Outcome(tokens, float(np.mean(series[1:] == series[:-1])))

    return repeat


def _tolerance(num_states: int, tokens: int) -> float:
    """Returns four standard deviations of a peer's mean over one repetition; rgflow's is smaller, rounds shrink both.

    The count of equal neighbours is correlated over about the correlation length of the chain.
    """
    chain = _chain(num_states)
    share = float(chain.stationary @ np.diag(chain.transition))
    return 4 * np.sqrt(share * (1 - share) * (1 + 2 * CORRELATION_LENGTH) / tokens)


def _case(num_states: int, tiny: bool) -> Case:
    module = "launch.benchmarks.markov"
    steps, tokens = SIZES[tiny]
    ours = Contender("rgflow", f"{module}:make_rgflow", {"num_states": num_states, "steps": steps})
    theirs = Contender(
        "quantecon", f"{module}:make_quantecon", {"num_states": num_states, "tokens": tokens}, ("quantecon",)
    )
    # The warm-up and the first repetition of the tiny case hold about as many tokens as the peer's.
    tolerance = _tolerance(num_states, min(tokens, steps * RUNS_PER_CORE * BATCH * LENGTH)) * (1.5 if tiny else 1)
    return Case("markov", f"{num_states} states", "token", ours, (Peer(theirs, 4.0),), tolerance)


def cases(tiny: bool) -> list[Case]:
    """Returns one case for each number of states."""
    return [_case(num_states, tiny) for num_states in ((4,) if tiny else (16, 64))]
