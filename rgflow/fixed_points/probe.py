r"""What is recorded of a run: the characteristic parameters after every layer, in every gauge, and of the controls.

All of it is measured on the same exact samples at coupling K at every record. Two estimators of couplings stand beside
each other: score matching of the family of even powers and pairs, and the pseudo-likelihood of the signs about the
median. ``ring_coupling`` is $\mathrm{sign}(s)\sqrt{|s|}$ of $s = \frac1{2M}\sum_{i \ne j} (J_{ij}^2 - \sigma_{ij}^2)$,
which for a ring of coupling K is K, however the features are numbered or signed.

| record                            | dims                      | what it is                                           |
|-----------------------------------|---------------------------|------------------------------------------------------|
| mean_coupling, max_coupling       | layer, gauge, estimator   | mean and largest $|J_{ij}|$ between features         |
| ring_coupling                     | layer, gauge, estimator   | as above                                             |
| floor_mean_coupling,              | layer, estimator          | the same of independent columns with the laws of the |
| floor_max_coupling,               |                           | standardised features: what an estimator finds in as |
| floor_ring_coupling               |                           | many samples of nothing                              |
| onsite                            | layer, gauge, power       | $\theta_2, \theta_4, \theta_6$, mean over features   |
| excess_kurtosis                   | layer, gauge              | mean over features                                   |
| correlation                       | layer, gauge              | root mean square of pair correlations                |
| mutual_information                | layer                     | of the standardised features, mean over pairs, nats  |
| live                              | layer                     | share of features that are not constant              |
| compressed_...                    | compression, gauge, ...   | the same of compressions of the data, in runs of the |
|                                   |                           | task ``compression``, which train nothing            |
| flow_coupling                     | scheme, layer, estimator  | of the same runs: ring_coupling of the standardised  |
|                                   |                           | data after as many exact steps as the layer's number |
| loss, relative_loss               |                           | on fresh samples; over that of the best constant     |
| relative_optimum                  |                           | least relative loss of any function; NaN: not known  |
| orbit_coupling                    | orbit, estimator          | ring_coupling of $f B$, random B, standardised       |
| orbit_loss                        | orbit                     | loss of the same network with $B^{-1}$ in its next   |
|                                   |                           | weights; NaN unless the activation is the identity   |

Layers before the features are measured only in the gauge ``standardised`` and by their signs: score matching of up to
half as many units as sites would cost as much as all the rest, and its family does not fit the law of these units.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgflow.exact.block_moments import SCHEMES
from rgflow.fixed_points.dynamics import TrainState
from rgflow.fixed_points.task import (
    ACTIVATIONS,
    COMPRESSIONS,
    Batch,
    Static,
    block_sums,
    draw_batch,
    draw_samples,
    fixed_rows,
    loss,
    optimal_loss,
    trivial_loss,
)
from rgflow.nets.dense import Bottleneck, with_kernel
from rgflow.probes.dependence import (
    correlations,
    coupling_summary,
    excess_kurtosis,
    independent_copy,
    mutual_information,
)
from rgflow.probes.gauges import GAUGES, apply_gauge, binarise, computed_after, orbit
from rgflow.probes.pair_moments import POWERS
from rgflow.probes.pseudo_likelihood import pseudo_likelihood
from rgflow.probes.score_matching import score_matching
from rgflow.protocol import Stream
from rgflow.types import Hypers, Key, Record

ESTIMATORS = ("score_matching", "pseudo_likelihood")
STANDARDISED = GAUGES.index("standardised")

COUPLINGS = ("mean_coupling", "max_coupling", "ring_coupling")
MODEL_FREE = ("excess_kurtosis", "correlation")
MEASURED = {
    **dict.fromkeys(COUPLINGS, ("estimator",)),
    "onsite": ("power",),
    **dict.fromkeys(MODEL_FREE, ()),
}
"""What is measured of some features in some gauge, and its dimensions."""

DIMS = {
    **{name: ("layer", "gauge", *dims) for name, dims in MEASURED.items()},
    **{f"floor_{name}": ("layer", "estimator") for name in COUPLINGS},
    **{f"compressed_{name}": ("compression", "gauge", *dims) for name, dims in MEASURED.items()},
    **{f"compressed_floor_{name}": ("compression", "estimator") for name in COUPLINGS},
    "flow_coupling": ("scheme", "layer", "estimator"),
    "mutual_information": ("layer",),
    "compressed_mutual_information": ("compression",),
    "live": ("layer",),
    "orbit_coupling": ("orbit", "estimator"),
    "orbit_loss": ("orbit",),
}


def coords(static: Static) -> dict[str, Sequence]:
    """Returns the labels of the record dimensions; layer l has N / 2^l units."""
    layers = range(1, static.halvings + 1)
    return {"layer": layers, "gauge": GAUGES, "estimator": ESTIMATORS, "power": POWERS, "compression": COMPRESSIONS}


def pair_mean(matrix: Float[Array, "M M"]) -> Float[Array, ""]:
    """Returns the mean over pairs of different features that are numbers."""
    return jnp.nanmean(jnp.where(jnp.eye(len(matrix), dtype=bool), jnp.nan, matrix))


def live_share(values: Float[Array, "n M"]) -> Float[Array, ""]:
    """Returns the share of features that have couplings: neither constant to rounding nor without a number."""
    return jnp.mean(jnp.isfinite(apply_gauge(values, "standardised")[0]))


def model_free(values: Float[Array, "n M"]) -> Record:
    """Returns the measures in ``MODEL_FREE``: they fit no family of densities."""
    return {
        "excess_kurtosis": jnp.nanmean(excess_kurtosis(values)),
        "correlation": jnp.sqrt(pair_mean(correlations(values) ** 2)),
    }


def measure(values: Float[Array, "n M"]) -> Record:
    """Returns everything in ``MEASURED`` of features as they stand."""
    signs = pseudo_likelihood(binarise(values))
    smooth = score_matching(computed_after(values, signs), POWERS)
    pairs, errors = (jnp.asarray(fit.couplings) for fit in smooth)
    found = [coupling_summary(pairs, errors), coupling_summary(*signs)]
    return {
        **{name: jnp.stack([getattr(one, name) for one in found]) for name in COUPLINGS},
        "onsite": jnp.nanmean(smooth.values.onsite, axis=1),
        **model_free(values),
    }


def with_floor(gauged: Float[Array, "some n M"], standardised: int) -> Record:
    """Returns what is measured of every form of some features, and the couplings of independent columns."""
    # One compiled body for all of them, one after the other.
    found = jax.lax.map(measure, jnp.concatenate([gauged, independent_copy(gauged[standardised])[None]]))
    floor = {f"floor_{name}": found[name][-1] for name in COUPLINGS}
    floor["mutual_information"] = pair_mean(mutual_information(gauged[standardised]))
    return {**{name: values[:-1] for name, values in found.items()}, **floor}


def in_every_gauge(values: Float[Array, "n M"]) -> Float[Array, "gauge n M"]:
    """Returns the features in every gauge, in the order of ``GAUGES``."""
    return jnp.stack([apply_gauge(values, gauge) for gauge in GAUGES])


def by_signs(standardised: Float[Array, "some n M"]) -> Float[Array, "some couplings"]:
    """Returns the summaries (in the order of ``COUPLINGS``) of the pseudo-likelihood of each array."""
    return jax.lax.map(lambda x: jnp.stack(coupling_summary(*pseudo_likelihood(binarise(x)))), standardised)


def hidden_records(values: Float[Array, "n M"]) -> Record:
    """Returns the records of a layer before the features: what its signs and moments say, in one gauge, else NaN."""
    one = apply_gauge(values, "standardised")
    mine, floor = by_signs(jnp.stack([one, independent_copy(one)]))
    signs = ESTIMATORS.index("pseudo_likelihood")
    nothing = jnp.full((len(GAUGES), len(ESTIMATORS)), jnp.nan)
    free = model_free(one)
    return {
        "mutual_information": pair_mean(mutual_information(one)),
        **{name: nothing.at[STANDARDISED, signs].set(mine[k]) for k, name in enumerate(COUPLINGS)},
        **{f"floor_{name}": nothing[0].at[signs].set(floor[k]) for k, name in enumerate(COUPLINGS)},
        **{name: nothing[:, 0].at[STANDARDISED].set(value) for name, value in free.items()},
        "onsite": jnp.full((len(GAUGES), len(POWERS)), jnp.nan),
    }


def compressions(static: Static, x: Float[Array, "n N"], projection: Float[Array, "M N"]) -> Float[Array, "maps n M"]:
    """Returns the compressions of some samples, in the order of ``COMPRESSIONS``."""
    fixed = jnp.asarray(fixed_rows(static.num_sites, static.num_features), x.dtype)
    rows = jnp.concatenate([projection[None], fixed])
    return jnp.einsum("nx,cmx->cnm", x, rows, precision=jax.lax.Precision.HIGHEST)


def layers_of(static: Static, params: dict, x: Float[Array, "n N"], hypers: Hypers) -> list[Float[Array, "n _"]]:
    """Returns what every layer of the encoder puts out, the features last."""
    return [jnp.asarray(layer) for layer in static.net(hypers).apply({"params": params}, x, method=Bottleneck.encode)]


def orbit_of(
    static: Static, key: Key, params: dict, data: Batch, hypers: Hypers, features: Float[Array, "n M"]
) -> tuple[Float[Array, "orbit n M"], Float[Array, " orbit"]]:
    r"""Returns $f B$ for random invertible B, standardised, and the loss of the network that undoes B behind them.

    NaN unless the activation is the identity: no other network of this kind can have the features $f B$.
    """
    net = static.net(hypers)
    both = jnp.concatenate([features, layers_of(static, params, data.x, hypers)[-1]])
    moved, kernels = orbit(key, both, params["decoder_0"]["kernel"], static.orbit)

    def loss_of(features: Array, kernel: Array) -> Array:
        outputs = net.apply({"params": with_kernel(params, kernel)}, features, method=Bottleneck.decode)
        return loss(static, hypers, jnp.asarray(outputs), data)

    losses = jax.vmap(loss_of)(moved[:, len(features) :], kernels)
    linear = hypers["activation"] == ACTIVATIONS.index("identity")
    standard = jax.vmap(lambda f: apply_gauge(f, "standardised"))(moved[:, : len(features)])
    return jnp.where(linear, standard, jnp.nan), jnp.where(linear, losses, jnp.nan)


def network_records(static: Static, key: Key, params: dict, x: Array, data: Batch, hypers: Hypers) -> Record:
    """Returns the records of every layer: of the features in all gauges, of the layers before them in one."""
    layers = layers_of(static, params, x, hypers)
    moved, losses = orbit_of(static, key, params, data, hypers, layers[-1])
    features = with_floor(jnp.concatenate([in_every_gauge(layers[-1]), moved]), STANDARDISED)
    gauges = len(GAUGES)
    records = [{name: x[:gauges] if name in MEASURED else x for name, x in features.items()}]
    for values in reversed(layers[:-1]):
        records.append(hidden_records(computed_after(values, records[-1])))
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *reversed(records))
    return {
        **stacked,
        "live": jnp.stack([live_share(values) for values in layers]),
        "orbit_coupling": features["ring_coupling"][gauges:],
        "orbit_loss": losses,
    }


def coarse_couplings(x: Float[Array, "n N"], blocks: int) -> Float[Array, "scheme estimator"]:
    """Returns the ring couplings of the data after exact steps down to some number of blocks, by their signs."""
    kept = {"decimation": x[:, :: x.shape[1] // blocks], "block_sum": block_sums(x, blocks)}
    coarse = jnp.stack([apply_gauge(kept[scheme], "standardised") for scheme in SCHEMES])
    found = by_signs(coarse)[:, COUPLINGS.index("ring_coupling")]
    nothing = jnp.full((len(SCHEMES), len(ESTIMATORS)), jnp.nan)
    return nothing.at[:, ESTIMATORS.index("pseudo_likelihood")].set(found)


def compression_records(static: Static, x: Float[Array, "n N"], projection: Float[Array, "M N"]) -> Record:
    """Returns the records of compressions of the data in every gauge, and of the data after exact steps."""
    of_one = lambda values: with_floor(in_every_gauge(values), STANDARDISED)  # noqa: E731
    found = jax.lax.map(of_one, compressions(static, x, projection))
    flow = [found["ring_coupling"][-len(SCHEMES) :, STANDARDISED]]
    for blocks in reversed(static.widths[:-1]):
        flow.append(coarse_couplings(computed_after(x, flow[-1]), blocks))
    record = {f"compressed_{name}": values for name, values in found.items()}
    return {**record, "flow_coupling": jnp.stack(flow[::-1], axis=1)}


def loss_records(static: Static, params: dict, data: Batch, hypers: Hypers) -> Record:
    """Returns the loss on fresh samples, as a share of that of the best constant answer, and the least possible."""
    outputs = static.net(hypers).apply({"params": params}, data.x)
    found = loss(static, hypers, jnp.asarray(outputs), data)
    trivial = trivial_loss(static, hypers, data)
    optimum = optimal_loss(static, hypers, data) / trivial
    return {"loss": found, "relative_loss": found / trivial, "relative_optimum": optimum}


def probe(static: Static, key: Key, state: TrainState, hypers: Hypers) -> Record:
    """Returns the record of one run at one step: ``samples`` fresh samples, the same at every record."""
    first, second, third = jax.random.split(jax.random.fold_in(key, Stream.PROBE), 3)
    x = draw_samples(static, first, hypers, hypers["coupling"], static.samples)
    if static.head == "none":
        return compression_records(static, x, state.projection)
    data = draw_batch(static, second, hypers, static.samples)
    records = network_records(static, third, state.params, x, data, hypers)
    return {**records, **loss_records(static, state.params, data, hypers)}
