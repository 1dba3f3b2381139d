"""results.nc of a workdir, read whole, if it is what a sweep writes."""

import math
import pathlib
from typing import TYPE_CHECKING, Any

from rgflow.schema.files import Unreadable, opened

if TYPE_CHECKING:  # only a report needs xarray, which takes a quarter of a second to load
    import xarray


def _leads_outside(content: Any) -> str:
    """Returns the name of something in an HDF5 file that lies in another file, or in a place that results have not."""
    import h5py

    for name in content:
        one = content[name] if isinstance(content.get(name, getlink=True), h5py.HardLink) else None
        if not isinstance(one, h5py.Dataset) or one.is_virtual or one.external:
            return name
    return ""


def wrong_results(dataset: "xarray.Dataset") -> str:
    """Returns in what a dataset is not the results of a sweep; '' for nothing. A report needs these parts of it."""
    kinds = {"died_at": "i", "seed": "iu", "step": "iu"}
    for name, kind in kinds.items():
        dims = ("step",) if name == "step" else ("run",)
        if name not in dataset or dataset[name].dims != dims or dataset[name].dtype.kind not in kind:
            return f"{name} is missing, or not a whole number for each {dims[0]}"
    if not dataset.sizes["run"] or not dataset.sizes["step"]:
        return "it has no runs or no steps"
    if "steps" in dataset and (dataset["steps"].dims != ("run",) or not _all_finite(dataset["steps"].values)):
        return "steps is not a finite number for each run"
    return ""


def _all_finite(values: Any) -> bool:
    return values.dtype.kind in "iuf" and all(math.isfinite(value) for value in values.tolist())


def read_results(path: pathlib.Path) -> "xarray.Dataset":
    """Returns results.nc, loaded; raises Unreadable where it is damaged or lacks what every sweep has."""
    import h5py
    import xarray

    with opened(path) as file:
        try:
            with h5py.File(file, "r") as content:
                if name := _leads_outside(content):
                    raise Unreadable(path, f"{name!r} lies in another file")
                if sum(one.nbytes for one in content.values()) > 8 * path.stat().st_size + 2**20:
                    raise Unreadable(path, "it claims to hold more numbers than the file has room for")
            with xarray.open_dataset(file, engine="h5netcdf", decode_times=False) as dataset:
                dataset.load()
        except Unreadable:
            raise
        except Exception as error:  # damage surfaces as any error of HDF5, h5netcdf and xarray
            raise Unreadable(path, f"damaged ({type(error).__name__}: {error})") from error
    if why := wrong_results(dataset):
        raise Unreadable(path, why)
    return dataset
