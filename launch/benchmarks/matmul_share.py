"""Suite matmul_share: the flop rate of the training step over that of its matrix products alone, on this machine.

The peer is the same stack of matrices, at the same shapes, forward and backward, with nothing between them: no
norms, activations, biases, residuals, data or Adam. It runs through the same engine, so the ratio of the costs is
the share of the machine's own rate at these shapes that the training step reaches. A second peer does the same
products with PyTorch's library, to show how near XLA's own are to the best known ones.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch import environment
from launch.benchmarks import rank_flow_training
from launch.benchmarks.cases import Case, Outcome, Peer
from launch.benchmarks.rank_flow_cases import contender
from rgflow import rank_flow
from rgflow.engine import grid, mesh
from rgflow.engine.prepare import prepare
from rgflow.rank_flow.task import Static

TARGET = 0.6


@dataclasses.dataclass(frozen=True)
class Product:
    """A weight matrix [inputs, outputs] applied to a stream of ``rows`` rows from the right, or from the left."""

    inputs: int
    outputs: int
    from_left: bool = False


def products(static: Static) -> tuple[int, list[Product]]:
    """Returns (rows, the matrices of the network in their order) of a training step."""
    rows = static.scored_capacity if static.mixing.name == "window" else static.batch * static.length
    width, hidden = static.width, static.hidden_multiple * static.width
    block = [Product(width, hidden), Product(hidden, width)]
    if static.mixing.name == "mixer":
        tokens = static.hidden_multiple * static.length
        block = [Product(static.length, tokens, True), Product(tokens, static.length, True), *block]
    return rows, [Product(static.features, width), *block * static.depth, Product(width, static.num_states)]


def _apply(product: Product, matrix: Any, stream: Any) -> Any:
    return matrix @ stream if product.from_left else stream @ matrix


def _shape(product: Product) -> tuple[int, int]:
    return (product.outputs, product.inputs) if product.from_left else (product.inputs, product.outputs)


def _matrices(static: Static, key: Any) -> list[Any]:
    _, chain = products(static)
    return [
        jax.random.normal(k, _shape(p)) / p.inputs**0.5
        for k, p in zip(jax.random.split(key, len(chain)), chain, strict=True)
    ]


def _reshaped(product: Product, stream: Any) -> Any:
    """Lays a stream out as [inputs, ...] for products from the left, else as [rows, inputs]; moves nothing."""
    return stream.reshape((product.inputs, -1) if product.from_left else (-1, product.inputs))


def _loss(chain: list[Product], matrices: list[Any], rows: Any) -> Any:
    stream = rows
    for product, matrix in zip(chain, matrices, strict=True):
        stream = _apply(product, matrix, _reshaped(product, stream))
    return jnp.sum(stream)


def matrix_products(mixing: str, runs: int, steps: int, tiny: bool = False) -> Callable[[], Outcome]:
    """Returns a repetition: the products of ``steps`` training steps of ``runs`` runs, and of their gradients."""
    environment.configure(runs)
    trained = rank_flow.make(rank_flow_training.config_of(mixing, tiny))
    static: Any = trained.static
    rows, chain = products(static)

    def step(key: Any, state: Any, hypers: Any) -> tuple[Any, Any]:
        loss, gradient = jax.value_and_grad(lambda m: _loss(chain, m, state["rows"]))(state["matrices"])
        # Some use of the gradient, or it would not be computed; the matrices are few against the rows.
        moved = jax.tree.map(lambda m, g: m - 1e-9 * g, state["matrices"], gradient)
        return {"matrices": moved, "rows": state["rows"]}, {"train_loss": loss}

    def init(key: Any, hypers: Any) -> Any:
        return {"matrices": _matrices(static, key), "rows": jnp.ones((rows, chain[0].inputs))}

    experiment = dataclasses.replace(trained, init=init, step=step, probe=lambda key, state, hypers: {})
    batch = mesh.choose_run_batch(mesh.platform(), runs, jax.device_count(), 0, experiment.cpu_run_batch)
    group = grid.Group("products", tuple(grid.Run({}, seed) for seed in range(runs)), batch)
    prepared = prepare(group, [experiment] * runs, root_seed=0)
    advance = functools.partial(prepared.program.advance, 0, steps, False, prepared.key, prepared.hypers)
    held = {"carry": prepared.program.initialise(prepared.key, prepared.hypers)}

    def repeat() -> Outcome:
        held["carry"], _ = jax.block_until_ready(advance(held["carry"]))
        return Outcome(runs * steps)

    return repeat


def torch_products(mixing: str, runs: int, steps: int, tiny: bool = False) -> Callable[[], Outcome]:
    """Returns the same repetition with PyTorch's matrix products, one run after the other on all cores."""
    import torch  # pyright: ignore[reportMissingImports]

    static: Any = rank_flow.make(rank_flow_training.config_of(mixing, tiny)).static
    rows, chain = products(static)
    generator = np.random.default_rng(0)
    matrices = [torch.from_numpy(generator.normal(size=_shape(p)).astype(np.float32) / p.inputs**0.5) for p in chain]
    for matrix in matrices:
        matrix.requires_grad_()
    first = torch.ones(rows, chain[0].inputs)

    def repeat() -> Outcome:
        for _ in range(runs * steps):
            stream = first
            for product, matrix in zip(chain, matrices, strict=True):
                stream = _apply(product, matrix, _reshaped(product, stream))
            torch.autograd.grad(stream.sum(), matrices)
        return Outcome(runs * steps)

    return repeat


def cases(tiny: bool) -> list[Case]:
    """Returns, for window and mixer, a case against XLA's own products and one against PyTorch's."""
    found = []
    for mixing, steps in (("window", 20), ("mixer", 3)):
        shared = {"mixing": mixing, "runs": 2 if tiny else 8, "steps": 2 if tiny else steps, "tiny": tiny}
        ours = contender("rgflow", "rank_flow_training:trainer", **shared)
        xla = Peer(contender("its matrix products alone", "matmul_share:matrix_products", **shared), TARGET)
        torch = contender("the same products in PyTorch", "matmul_share:torch_products", **shared)
        torch = Peer(dataclasses.replace(torch, packages=("torch",)), TARGET)
        found.append(Case("matmul_share", mixing, "run and step", ours, (xla,), internal=True))
        found.append(Case("matmul_share", f"{mixing}, PyTorch's rate", "run and step", ours, (torch,)))
    return found
