"""Effective ranks of the residual streams of one probe: (layers, rows, width), against NumPy and PyTorch.

rgflow measures one run's streams on each core, as a sweep does. NumPy runs on one BLAS thread (two are slower for such
narrow matrices); PyTorch on one thread and on all: its threads spin, which on a machine that does other work makes
them many times slower than one alone, and on an idle one somewhat faster.

Where the time goes (CPU milliseconds of one core per 4096 x (64, 128, 256) matrix; the machine was busy, only ratios
count): NumPy's decomposition 6 / 24 / 46, JAX's (the same LAPACK routine) 3.9 / 11 / 26, PyTorch's 2.2 / 6.2 / 22;
the Gram matrix in float64 with its eigenvalues 1.5 / 4.8 / 17, of which the product 1.1 / 3.4 / 11 and JAX's
eigenvalues 0.4 / 1.4 / 6. The product of the matrix as it lies in memory takes twice as long as that of its transposed
panels. Floors: a Gram matrix in float32, which is not accurate enough, is 0.6 / 2.0 / 6.3 on its own, and so is
no more than 4 / 3 / 3.5 times cheaper than PyTorch's whole decomposition on the same core.
Tried and dropped: float32 Gram matrices of X = H + L split so that H's products are exact (two products, as dear as
one in float64), a second pass with whitened columns (three products), int8 products (slow), bfloat16 ones (no faster
than float32), the upper triangle in blocks (slower than the whole), QR first (28 at width 256), the SVD of the Gram
matrix or of its Cholesky factor (no cheaper, the latter less accurate). LAPACK's eigenvalues without vectors take half
of what JAX's do, which always computes both: 10 to 20 % of the whole that only a private interface would give.
"""

import functools

import numpy as np

from launch import environment
from launch.benchmarks.cases import Case, Contender, Outcome, Peer

LAYERS, RANK, FLOOR = 7, 8, 1e-4
RELATIVE = 1e-4
"""What two effective ranks may differ by, relative to their size."""

WIDTHS = {64: (30, 8), 128: (10, 2), 256: (3, 1)}
"""Passes over the streams in one repetition, of rgflow and of the peers, for each width."""


def spectra(width: int) -> np.ndarray:
    """Returns the singular values of each layer, [layers, width]: streams that collapse in the ways they do."""
    index = np.arange(width)
    decays = [np.exp(-rate * index / width) for rate in (3.5, 7.0, 14.0)]
    powers = [(1.0 + index) ** -power for power in (0.5, 1.0)]
    return np.stack([np.ones(width), *powers, *decays, np.where(index < RANK, 1.0, FLOOR)])


def streams(rows: int, width: int, seed: int = 0) -> np.ndarray:
    """Returns float32 streams [layers, rows, width] with about these spectra, in random directions."""
    generator = np.random.default_rng(seed)
    left = generator.normal(size=(LAYERS, rows, width)) / np.sqrt(rows)
    right = np.linalg.qr(generator.normal(size=(LAYERS, width, width)))[0]
    return ((left * spectra(width)[:, None]) @ right).astype(np.float32)


def effective_ranks(values: np.ndarray) -> np.ndarray:
    """Returns the effective rank of each row of singular values."""
    shares = values / values.sum(axis=-1, keepdims=True)
    return np.exp(-np.sum(np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), 0.0), axis=-1))


def make_rgflow(rows: int, width: int, passes: int):
    """Prepares the probe's function on every core: one run's streams on each device, as the engine spreads runs."""
    runs = environment.cores()
    environment.configure(runs=runs)
    import jax
    from jax.sharding import PartitionSpec

    from rgflow.engine import mesh
    from rgflow.probes.spectrum import effective_rank, singular_values

    devices = mesh.run_mesh(runs, 1)
    over_runs = PartitionSpec(mesh.RUN_AXIS)
    ranks = jax.vmap(lambda stream: effective_rank(singular_values(stream)))
    spread = jax.shard_map(ranks, mesh=devices, in_specs=over_runs, out_specs=over_runs, check_vma=False)
    measure = jax.jit(spread)
    given = mesh.spread(np.broadcast_to(streams(rows, width), (runs, LAYERS, rows, width)), devices)

    def repeat() -> Outcome:
        for _ in range(passes - 1):
            measure(given).block_until_ready()
        return Outcome(passes * runs * LAYERS, float(measure(given).mean()))

    return repeat


def make_numpy(rows: int, width: int, passes: int):
    """Prepares numpy.linalg.svd of the whole stack in float32."""
    given = streams(rows, width)

    def repeat() -> Outcome:
        answers = [effective_ranks(np.linalg.svd(given, compute_uv=False)) for _ in range(passes)]
        return Outcome(passes * LAYERS, float(np.mean(answers)))

    return repeat


def make_torch(rows: int, width: int, passes: int, threads: int):
    """Prepares torch.linalg.svdvals of the whole stack in float32."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    given = torch.from_numpy(streams(rows, width))

    def repeat() -> Outcome:
        for _ in range(passes):
            values = torch.linalg.svdvals(given)
            shares = values / values.sum(-1, keepdim=True)
            ranks = torch.exp(torch.special.entr(shares).sum(-1))
        return Outcome(passes * LAYERS, float(ranks.mean()))

    return repeat


def _case(rows: int, width: int, passes: tuple[int, int]) -> Case:
    module = "launch.benchmarks.spectrum"
    of = functools.partial(dict, rows=rows, width=width)
    ours = Contender("rgflow", f"{module}:make_rgflow", of(passes=passes[0]))
    theirs = of(passes=passes[1])
    one_thread = {"OPENBLAS_NUM_THREADS": "1"}
    threads = {"torch, one thread": dict(theirs, threads=1), "torch": of(passes=1, threads=environment.cores())}
    torch = (Contender(name, f"{module}:make_torch", arguments, ("torch",)) for name, arguments in threads.items())
    numpy = Contender("numpy", f"{module}:make_numpy", theirs, ("numpy",), one_thread)
    peers = tuple(Peer(contender, 10.0) for contender in (numpy, *torch))
    tolerance = RELATIVE * float(effective_ranks(spectra(width)).mean())
    name = f"{LAYERS} layers, {rows} x {width}"
    return Case("spectrum", name, "matrix", ours, peers, tolerance)


def cases(tiny: bool) -> list[Case]:
    """Returns one case per width of the stream."""
    if tiny:
        return [_case(128, 16, (1, 1))]
    return [_case(4096, width, passes) for width, passes in WIDTHS.items()]
