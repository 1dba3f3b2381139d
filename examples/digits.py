"""Ranks along the layers of an ordinary classifier of handwritten digits, before and after training.

pip install -e '.[examples]'
python -m examples.digits --out=checkpoints/digits
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from rgflow.judging.intervals import t_interval
from rgflow.judging.text import number_text
from rgflow.plots import network as network_figures
from rgflow.probes import measure
from rgflow.probes.kernel import drift_concentration

DEPTH, WIDTH, CLASSES = 6, 64, 10
BATCH, LEARNING_RATE = 128, 1e-3


class Hidden(nnx.Module):
    """A dense layer and its ReLU."""

    def __init__(self, width_in: int, rngs: nnx.Rngs) -> None:
        """Draws the weights."""
        self.linear = nnx.Linear(width_in, WIDTH, kernel_init=nnx.initializers.he_normal(), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the activations."""
        return nnx.relu(self.linear(x))


class Classifier(nnx.Module):
    """Six hidden ReLU layers of equal width and a readout."""

    def __init__(self, width_in: int, rngs: nnx.Rngs) -> None:
        """Draws the weights of all layers."""
        self.hidden = nnx.List([Hidden(width_in if k == 0 else WIDTH, rngs) for k in range(DEPTH)])
        self.readout = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        for layer in self.hidden:
            x = layer(x)
        return self.readout(x)


@functools.partial(jax.jit, static_argnames="steps")
@functools.partial(jax.vmap, in_axes=(0, None, None, None))
def train(key: jax.Array, images: jax.Array, labels: jax.Array, steps: int) -> tuple[nnx.State, nnx.State]:
    """Returns the weights before and after training; all seeds are trained side by side."""
    key_init, key_batches = jax.random.split(key)
    network, untrained = nnx.split(Classifier(images.shape[-1], nnx.Rngs(key_init)))
    optimiser = optax.adam(LEARNING_RATE)

    def loss(weights: nnx.State, rows: jax.Array) -> jax.Array:
        logits = nnx.merge(network, weights)(images[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
        weights, moments = carry
        rows = jax.random.randint(key, (BATCH,), 0, len(images))
        updates, moments = optimiser.update(jax.grad(loss)(weights, rows), moments)
        return (optax.apply_updates(weights, updates), moments), None

    start = (untrained, optimiser.init(untrained))
    (trained, _), _ = jax.lax.scan(step, start, jax.random.split(key_batches, steps))
    return untrained, trained


def interval_text(values: np.ndarray) -> str:
    """Returns the mean over runs with its interval."""
    return number_text(*t_interval(np.asarray(values, np.float64))[:3])


def main() -> None:
    """Trains, measures, prints a table and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("checkpoints/digits"), help="folder of figures"
    )
    parser.add_argument("--seeds", type=int, default=8, help="networks to train")
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    flags = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    images_train, images_test, labels_train, labels_test = train_test_split(images, labels, random_state=0)
    keys = jax.random.split(jax.random.key(0), flags.seeds)
    weights = train(keys, jnp.asarray(images_train), jnp.asarray(labels_train), flags.steps)

    network = nnx.graphdef(nnx.eval_shape(lambda: Classifier(images.shape[-1], nnx.Rngs(0))))
    accuracy = np.zeros((2, flags.seeds))
    runs: list[xr.Dataset] = []
    for run in range(flags.seeds):
        states = [nnx.merge(network, jax.tree.map(lambda w: w[run], state)) for state in weights]  # noqa: B023
        accuracy[:, run] = [np.mean(state(images_test).argmax(-1) == labels_test) for state in states]
        layers = [measure(state, images, layers=[f"hidden/{k}" for k in range(DEPTH)]) for state in states]
        runs.append(xr.concat(layers, xr.IndexVariable("step", [0, flags.steps])))
    dataset = xr.concat(runs, "run")

    print_row("", "untrained", "trained")
    print_row("test accuracy", *map(interval_text, accuracy))
    for centring in dataset.centring.values:
        rank = dataset.effective_rank.sel(level="position", centring=centring)
        drift = dataset.kernel_drift.sel(level="position", centring=centring)
        ratio = (rank.isel(layer=-1) / rank.isel(layer=0)).transpose("step", "run").values
        share = drift_concentration(drift.transpose("step", "run", "transition").values, top=2)
        print_row(f"rank ratio R, {centring}", *map(interval_text, ratio))
        print_row(f"top-two drift share, {centring}", *map(interval_text, np.asarray(share)))
    for drawn in network_figures.figures(dataset, "digits"):
        drawn.save(flags.out)
    print(f"{flags.seeds} networks, mean [95 % interval]; figures in {flags.out}")


def print_row(name: str, *values: str) -> None:
    """Prints one line of the table."""
    print(f"{name:32}" + "".join(f"{value:>26}" for value in values))


if __name__ == "__main__":
    main()
