r"""Decay of perturbations with depth: one rate per mode of the chain, and how far the rates spread.

Under a renormalization of the chain mode k shrinks by $|\lambda_k|$ per token of coarse-graining: slow modes least.

Ref: HR2026b = arXiv:2607.15449, which reports the dynamic range of decay lengths over modes: 5.4 for a transformer, 1.3
for an MLP at long correlation length. Its definition could not be read; the one here is ours.
"""

import numpy as np
import xarray as xr


def relative_perturbation(records: xr.Dataset) -> xr.DataArray:
    r"""Returns the logarithm of each perturbation relative to the stream that it perturbs, 0 at layer 0.

    $\ln \frac{\|\delta h_l\| / \|h_l\|}{\|\delta h_0\| / \|h_0\|}$: the stream of a residual stack grows with depth and
    its perturbations grow with it; a layer that normalises its input sees only their ratio. NaN where the records lack
    ``stream_growth``. Shapes: [..., mode, layer]. Ref: HR2026b (perturbations per mode; the normalisation is ours).

    >>> records = xr.Dataset({"perturbation": ("layer", [0.0, 1.0]), "stream_growth": ("layer", [0.0, 1.5])})
    >>> relative_perturbation(records).values.tolist()
    [0.0, -0.5]
    """
    return records["perturbation"] - records.get("stream_growth", np.nan)


def decay_rates(perturbation: xr.DataArray) -> xr.DataArray:
    r"""Returns the rate at which each perturbation decays with depth, in 1/layers; negative where it grows.

    $r_k = -\sum_{l \ge 1} l\,y_{kl} / \sum_{l \ge 1} l^2$ with $y_{kl} = \ln \|\delta h_l\| / \|\delta h_0\|$: least
    squares through the origin, where y starts by definition. The decay length is $1 / r_k$ layers. Layers that are NaN
    (those a shallower stack lacks) are left out. A perturbation without any layer has rate NaN; one that has vanished
    (y is minus infinity) has an infinite rate. Shapes: [..., layer] with coordinate ``layer`` -> [...]. Ref: HR2026b
    (exponential decay per mode).

    >>> y = [[0.0, -0.5, -1.0], [0.0, 0.25, np.nan]]
    >>> decay_rates(xr.DataArray(y, {"layer": [0, 1, 2]}, ("mode", "layer"))).values.tolist()
    [0.5, -0.25]
    """
    blocks = perturbation.sel(layer=perturbation["layer"] >= 1).astype(np.float64)
    depth = blocks["layer"].astype(np.float64)
    squares = (depth**2).where(blocks.notnull()).sum("layer")
    return -(blocks * depth).sum("layer") / squares.where(squares > 0)


def dynamic_range(rates: xr.DataArray) -> xr.DataArray:
    r"""Returns the largest over the smallest decay length of the modes, NaN unless every mode decays.

    $\max_k r_k / \min_k r_k$ over the modes that have a rate. Shapes: [..., mode] -> [...]. Ref: HR2026b.

    >>> [float(dynamic_range(xr.DataArray([0.5, rate, 0.2], dims="mode"))) for rate in (0.1, -0.1)]
    [5.0, nan]
    """
    largest, smallest = rates.max("mode"), rates.min("mode")
    return largest / smallest.where(smallest > 0)
