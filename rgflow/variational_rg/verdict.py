"""Every claim of this room, judged on the systems that a dataset holds.

* ``lattice``: S3-lattice and S3-yardstick, :mod:`~rgflow.variational_rg.lattice_verdict`.
* ``small``: S3-a and S3-b, :mod:`~rgflow.variational_rg.mapping_verdict`.
* ``stack``: S3-c, S3-d and S3-model for each strength of the penalty and coupling,
  :mod:`~rgflow.variational_rg.stack_verdict`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from rgflow.judging.claim import complete
from rgflow.judging.points import split_points
from rgflow.protocol import Verdict
from rgflow.variational_rg import lattice_verdict, mapping_verdict, stack_verdict

CLAIMS: Mapping[str, tuple[str, str]] = {
    "S3-lattice": ("The sampled lattices have the exact energy of the periodic square lattice.", "lattice"),
    "S3-yardstick": ("The Monte Carlo RG gives the exponent of the critical lattice.", "lattice"),
    "S3-a": ("With T = -E + H a machine's hidden Hamiltonian is that of a variational RG step.", "small"),
    "S3-b": ("The free-energy gap vanishes if and only if the RG step is exact.", "small"),
    "S3-c": ("Receptive fields are local blocks of spins that grow with depth.", "strength,shuffled"),
    "S3-d coupling": ("The first hidden layer has the coupling of a coarse-grained lattice.", "strength"),
    "S3-d length": ("The first hidden layer has the correlation length of a coarse-grained lattice.", "strength"),
    "S3-model": ("The first machine, left to itself, has the energy of the lattice.", "strength"),
}
"""Statement of every claim and the study that decides it, for sweeps that lack it."""


def verdict(dataset: xr.Dataset, config: Any) -> list[Verdict]:
    """Judges every claim of the systems in the dataset; claims whose study is absent are not run."""
    chains = dataset.isel(run=np.flatnonzero(dataset["system"].values == "lattice"))
    found = lattice_verdict.verdicts(chains) if chains.sizes["run"] else []
    small = list(split_points(dataset, system="small"))
    if any(cell.live.sizes["run"] for cell in small):
        found += [mapping_verdict.identity(small, config), mapping_verdict.gap_means_exact(small, config)]
    found += stack_verdict.judge(list(split_points(dataset, system="stack")), config)
    return complete(found, CLAIMS)
