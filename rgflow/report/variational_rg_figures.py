"""Figures of the variational-rg room, each from the studies of a sweep that it needs."""

import xarray as xr

from rgflow.report import variational_rg_fields, variational_rg_sizes
from rgflow.report.figures import Drawn
from rgflow.report.variational_rg_couplings import couplings
from rgflow.report.variational_rg_lattice import lattice_figures
from rgflow.report.variational_rg_mapping import mapping_figures
from rgflow.report.variational_rg_model import model
from rgflow.report.variational_rg_points import stacks_of

OF_STACKS = (*variational_rg_fields.MAKERS, *variational_rg_sizes.MAKERS, couplings, model)


def figures(dataset: xr.Dataset) -> list[Drawn]:
    """Returns every figure that the studies of a sweep allow; none of an empty one."""
    if not dataset.sizes["run"]:
        return []
    stacks = stacks_of(dataset)
    drawn = [one for make in OF_STACKS for one in make(stacks)]
    return [*drawn, *mapping_figures(dataset), *lattice_figures(dataset)]
