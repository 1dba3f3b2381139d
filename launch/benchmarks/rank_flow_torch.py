"""The peers in PyTorch: a training loop over seeds, and the same networks stacked by ``torch.func``.

Layers, optimiser and loss are PyTorch's own with their defaults, initial weights those of rgflow (LeCun normal), the
chain is sampled by NumPy for all sequences of a batch at once. ``torch.func`` follows PyTorch's tutorial on model
ensembling: stack_module_state, functional_call, vmap over networks and their data, gradients of the summed losses,
one fused Adam for the stacked weights.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from launch.benchmarks.cases import Outcome
from launch.benchmarks.rank_flow_training import FIRST_STEPS, Sizes, chain, config_of, sizes_of

TRUNCATED_DEVIATION = 0.8796
"""Standard deviation of a standard normal cut off at two."""


@functools.cache
def _stack_class() -> Any:
    """Returns the class of the networks, once: torch.func stacks modules of one class only."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    class Mixing(nn.Module):
        """An MLP along the positions of [B, T, D]."""

        def __init__(self, sizes: Sizes) -> None:
            super().__init__()
            self.first = nn.Linear(sizes.length, sizes.token_hidden)
            self.second = nn.Linear(sizes.token_hidden, sizes.length)

        def forward(self, x: Any) -> Any:
            x = nn.functional.gelu(self.first(x.transpose(1, 2)), approximate="tanh")
            return self.second(x).transpose(1, 2)

    class Block(nn.Module):
        def __init__(self, sizes: Sizes) -> None:
            super().__init__()
            self.mixes = sizes.mixing == "mixer"
            if self.mixes:
                self.mixing_norm, self.mixing = nn.LayerNorm(sizes.width, eps=1e-6), Mixing(sizes)
            self.norm = nn.LayerNorm(sizes.width, eps=1e-6)
            self.first = nn.Linear(sizes.width, sizes.hidden)
            self.second = nn.Linear(sizes.hidden, sizes.width)

        def forward(self, h: Any) -> Any:
            if self.mixes:
                h = h + self.mixing(self.mixing_norm(h))
            return h + self.second(nn.functional.gelu(self.first(self.norm(h)), approximate="tanh"))

    class Stack(nn.Module):
        def __init__(self, sizes: Sizes) -> None:
            super().__init__()
            w = sizes.window if sizes.mixing == "window" else 0
            symbols = sizes.num_states + 2
            # One table for all pairs of place and symbol; the sum over places is the window's linear embedding.
            self.embedding = nn.Embedding((2 * w + 1) * symbols, sizes.width)
            self.register_buffer("places", torch.arange(2 * w + 1) * symbols)
            self.window, self.padding = w, sizes.num_states + 1
            self.blocks = nn.ModuleList([Block(sizes) for _ in range(sizes.depth)])
            self.norm = nn.LayerNorm(sizes.width, eps=1e-6)
            self.readout = nn.Linear(sizes.width, sizes.num_states)

        def forward(self, shown: Any) -> Any:
            if self.window:
                shown = nn.functional.pad(shown, (self.window, self.window), value=self.padding)
                h = self.embedding(shown.unfold(1, 2 * self.window + 1, 1) + self.places).sum(-2)
            else:
                h = self.embedding(shown)
            for block in self.blocks:
                h = block(h)
            return self.readout(self.norm(h))

    return Stack


def network(sizes: Sizes) -> Any:
    """Returns one network as a torch module, with fresh weights."""
    from torch import nn  # pyright: ignore[reportMissingImports]

    stack = _stack_class()(sizes)
    for module in stack.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=1.0, a=-2.0, b=2.0)
            module.weight.data *= 1 / (TRUNCATED_DEVIATION * math.sqrt(module.in_features))
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.num_embeddings))
    return stack


def sampler(sizes: Sizes, config: Any) -> Callable[[np.random.Generator, int], tuple[Any, Any, Any]]:
    """Returns a function from a generator and a number of sequences to tensors (tokens, shown, mask) [B, T]."""
    import torch  # pyright: ignore[reportMissingImports]

    cumulative, stationary = (x.astype(np.float32) for x in chain(config))

    def draw(generator: np.random.Generator, sequences: int) -> tuple[Any, Any, Any]:
        uniforms = generator.random((sizes.length, sequences), dtype=np.float32)
        tokens = np.empty((sizes.length, sequences), np.int64)
        tokens[0] = np.searchsorted(stationary, uniforms[0])
        for t in range(1, sizes.length):
            tokens[t] = (uniforms[t][:, None] > cumulative[tokens[t - 1]]).sum(1)
        tokens = np.minimum(tokens, sizes.num_states - 1).T
        mask = generator.random(tokens.shape, dtype=np.float32) < sizes.mask_prob
        shown = np.where(mask, sizes.num_states, tokens)
        return torch.from_numpy(np.ascontiguousarray(tokens)), torch.from_numpy(shown), torch.from_numpy(mask)

    return draw


def loop_over_seeds(mixing: str, seeds: int, steps: int, tiny: bool = False, **values: Any) -> Callable[[], Outcome]:
    """Returns a repetition: ``steps`` steps of ``seeds`` networks, one seed after the other."""
    import torch  # pyright: ignore[reportMissingImports]

    config = config_of(mixing, tiny, **values)
    sizes = sizes_of(config)
    draw, generator = sampler(sizes, config), np.random.default_rng(0)
    torch.manual_seed(0)

    def train(net: Any, optimizer: Any, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            tokens, shown, mask = draw(generator, sizes.batch)
            loss = torch.nn.functional.cross_entropy(net(shown)[mask], tokens[mask])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    def fresh() -> tuple[Any, Any]:
        net = network(sizes)
        return net, torch.optim.Adam(net.parameters(), lr=sizes.learning_rate)

    answer = float(np.mean([float(x) for _ in range(4) for x in train(*fresh(), FIRST_STEPS)]))
    networks = [fresh() for _ in range(seeds)]

    def repeat() -> Outcome:
        for net, optimizer in networks:
            train(net, optimizer, steps)
        return Outcome(seeds * steps, answer)

    return repeat


def vmap_over_seeds(mixing: str, seeds: int, steps: int, tiny: bool = False, **values: Any) -> Callable[[], Outcome]:
    """Returns a repetition: ``steps`` steps of ``seeds`` networks at once."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch.func import functional_call, stack_module_state  # pyright: ignore[reportMissingImports]

    config = config_of(mixing, tiny, **values)
    sizes = sizes_of(config)
    draw, generator = sampler(sizes, config), np.random.default_rng(0)
    torch.manual_seed(0)
    base = network(sizes).to("meta")

    def loss_of(params: Any, buffers: Any, tokens: Any, shown: Any, mask: Any) -> Any:
        logits = functional_call(base, (params, buffers), (shown,))
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none")
        return (losses * mask.flatten()).sum() / mask.sum()

    losses_of = torch.vmap(loss_of)
    shape = (seeds, sizes.batch, sizes.length)

    def fresh() -> tuple[Any, Any, Any]:
        params, buffers = stack_module_state([network(sizes) for _ in range(seeds)])
        return params, buffers, torch.optim.Adam(params.values(), lr=sizes.learning_rate)

    def train(params: Any, buffers: Any, optimizer: Any, steps: int) -> list[Any]:
        losses = []
        for _ in range(steps):
            tokens, shown, mask = (x.reshape(shape) for x in draw(generator, seeds * sizes.batch))
            each = losses_of(params, buffers, tokens, shown, mask)
            optimizer.zero_grad()
            each.sum().backward()
            optimizer.step()
            losses.append(each.detach().mean())
        return losses

    answer = float(np.mean([float(x) for x in train(*fresh(), FIRST_STEPS)]))
    stacked = fresh()

    def repeat() -> Outcome:
        train(*stacked, steps)
        return Outcome(seeds * steps, answer)

    return repeat
