"""Files of a workdir: one record file per recorded step and group, merged into one labelled results.nc.

Where several processes share a sweep, each writes the rows (runs) that it holds to a file of its own.
"""

import json
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rgflow.engine import health
from rgflow.engine.grid import Group
from rgflow.engine.plan import Plan, distinct
from rgflow.protocol import Experiment

if TYPE_CHECKING:  # only merging needs xarray, which takes a quarter of a second to load
    import xarray

DIED_AT = "died_at"

Reader = Callable[[Group, int], dict[str, np.ndarray] | None]
"""Returns the record of a group at a step, arrays [run, ...], or None when there is none."""


def write_atomically(path: pathlib.Path, write: Callable[[pathlib.Path], Any]) -> None:
    """Writes through a temporary name in the same folder, then renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A sweep and a report of the same workdir may write the same file at the same time.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(workdir: pathlib.Path) -> None:
    """Removes temporary files that a killed process left behind; the caller holds the workdir's lock."""
    for folder in (workdir, workdir / "chunks", workdir / "tables"):
        for path in folder.glob(".*.tmp"):
            process = path.suffixes[-2][1:] if len(path.suffixes) > 1 else ""
            # A report that is being written beside the sweep belongs to a living process.
            if not (process.isdigit() and pathlib.Path("/proc", process).exists()):
                path.unlink(missing_ok=True)


def write_json(path: pathlib.Path, data: Any) -> None:
    """Writes ``data`` as indented JSON, atomically."""
    write_atomically(path, lambda p: p.write_text(json.dumps(data, indent=2) + "\n"))


def read_json(path: pathlib.Path) -> Any:
    """Reads what :func:`write_json` wrote."""
    return json.loads(path.read_text())


def record_path(workdir: pathlib.Path, group: str, step: int) -> pathlib.Path:
    """Returns where the record of ``group`` at ``step`` lies when one process wrote all its runs."""
    return workdir / "chunks" / f"{group}-{step:09d}.npz"


def write_record(
    workdir: pathlib.Path, group: str, step: int, record: Mapping[str, np.ndarray], first: int, runs: int
) -> None:
    """Writes rows of one record (arrays with leading axis run; ``first`` of ``runs``) as an npz, atomically."""
    path = record_path(workdir, group, step)
    stop = first + len(next(iter(record.values())))
    if (first, stop) != (0, runs):
        path = path.with_name(f"{path.stem}.{first}-{stop}.npz")

    def write(temporary: pathlib.Path) -> None:
        # Not np.savez, which takes the names of arrays for its own arguments: file, and allow_pickle from numpy 2.2 on.
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, values in record.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)

    write_atomically(path, write)


def _read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a file, or None when it is absent or damaged (npz members carry checksums)."""
    try:
        with np.load(path) as file:
            # numpy reads as far as an array's header says, which may end before the place where checksums are compared.
            # If a part of the table of contents is lost, the last member, died_at, is lost first.
            if DIED_AT not in file.files or file.zip.testzip() is not None:
                return None
            return {name: file[name] for name in file.files}
    except Exception:  # damage to an archive's own fields surfaces as any error: RuntimeError, NotImplementedError, ...
        return None


def _join(workdir: pathlib.Path, group: str, step: int, runs: int) -> dict[str, np.ndarray] | None:
    """Returns a record put together from the files of several processes, or None when rows are missing."""
    path = record_path(workdir, group, step)
    held, whole = np.zeros(runs, bool), {}
    for part in sorted(path.parent.glob(f"{path.stem}.*-*.npz")):
        named = re.fullmatch(r"\.(\d+)-(\d+)", part.suffixes[-2])
        arrays = _read(part) or {}
        rows = slice(int(named[1]), int(named[2])) if named else slice(0, 0)
        if any(len(values) != rows.stop - rows.start for values in arrays.values()):
            continue  # no process of the sweep wrote this file
        for name, values in arrays.items():
            whole.setdefault(name, np.zeros((runs, *values.shape[1:]), values.dtype))[rows] = values
            held[rows] = True
    return whole if held.all() else None


def read_record(workdir: pathlib.Path, group: str, step: int, runs: int) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a record, [run, ...], or None when some of it is absent or damaged."""
    whole = _read(record_path(workdir, group, step))
    return _join(workdir, group, step, runs) if whole is None else whole


def missing(workdir: pathlib.Path, group: Group, schedule: Sequence[int]) -> list[int]:
    """Returns the scheduled steps whose record is absent or damaged."""
    return [s for s in schedule if read_record(workdir, group.name, s, len(group.runs)) is None]


def _group_dataset(
    group: Group, experiments: Sequence[Experiment], read: Reader, absent: Mapping[str, Any]
) -> "xarray.Dataset | None":
    """Returns a group's records as a dataset with dims (run, step, ...), None when there is no record yet.

    ``absent`` maps the coordinates of the runs to their values for runs whose point does not set them.
    """
    import xarray

    schedule, dims = experiments[0].schedule, experiments[0].dims
    found = [(s, r) for s in schedule if (r := read(group, s)) is not None]
    if not found:
        return None
    steps, records = [s for s, _ in found], [r for _, r in found]
    variables: dict[str, Any] = {DIED_AT: ("run", records[-1][DIED_AT])}
    for name in (n for n in records[0] if n != DIED_AT):
        if name in experiments[0].latest:
            variables[name] = (("run", *dims.get(name, ())), records[-1][name])
        else:
            variables[name] = (("run", "step", *dims.get(name, ())), np.stack([r[name] for r in records], axis=1))
        if name in experiments[0].first:
            # Where the record of the first step is lost, a later one must not pass for it.
            first = records[0][name] if steps[0] == schedule[0] else np.full_like(records[0][name], np.nan)
            variables[f"first_{name}"] = (("run", *dims.get(name, ())), first)
    points, index = distinct(experiments)
    for name in experiments[0].reference:
        values = np.array([e.reference[name] for e in points], np.float64)[index]
        variables[name] = (("run", *dims.get(name, ())), values)
    coords: dict[str, Any] = {"step": steps, **{k: list(v) for k, v in experiments[0].coords.items()}}
    coords["seed"] = ("run", [run.seed for run in group.runs])
    for name in absent:
        coords[name] = ("run", [run.values.get(name, absent[name]) for run in group.runs])
    dataset = xarray.Dataset(variables, coords)
    ranges = {d: np.arange(n) for d, n in dataset.sizes.items() if d not in dataset.coords and d != "run"}
    return dataset.assign_coords(ranges)


def _of_config(config: Any, name: str) -> Any:
    """Returns the value of a dotted key of a plain config, NaN where it has none."""
    for part in name.split("."):
        if not isinstance(config, Mapping) or part not in config:
            return np.nan
        config = config[part]
    return config


def assembled(plan: Plan, read: Reader, attributes: Mapping[str, str]) -> "xarray.Dataset | None":
    """Returns every record of the plan's groups as one dataset with dims (run, step, ...); None when there is none.

    What a group does not record is NaN there. Coordinates of a run: ``seed`` and every value that some point of the
    plan sets; a run whose point does not set it has that of the config (NaN where the config lacks it).
    """
    import xarray

    config = plan.config.to_dict()
    names = sorted({name for group in plan.groups for run in group.runs for name in run.values})
    absent = {name: _of_config(config, name) for name in names}
    parts = [_group_dataset(group, plan.experiments(group), read, absent) for group in plan.groups]
    present = [part for part in parts if part is not None]
    if not present:
        return None
    names_of_all = set().union(*(part.data_vars for part in present))
    fill = {name: health.NEVER if name == DIED_AT else np.nan for name in names_of_all}
    how: Any = {"join": "outer", "data_vars": "all", "coords": "minimal", "compat": "override"}
    return xarray.concat(present, dim="run", fill_value=fill, **how).assign_attrs(attributes)


def merge(workdir: pathlib.Path, plan: Plan, attributes: Mapping[str, str]) -> "xarray.Dataset":
    """Returns every record of the workdir as :func:`assembled` does; raises FileNotFoundError when there is none."""
    read = lambda group, step: read_record(workdir, group.name, step, len(group.runs))  # noqa: E731
    found = assembled(plan, read, attributes)
    if found is None:
        raise FileNotFoundError(f"{workdir} holds no records yet: run the sweep until its first record")
    return found


def write_results(path: pathlib.Path, dataset: "xarray.Dataset") -> None:
    """Writes results.nc (netCDF4 through h5netcdf), atomically."""
    # The file is made in memory: HDF5 ends the whole process when the disk fails under an open file.
    content = dataset.to_netcdf(engine="h5netcdf")
    write_atomically(path, lambda p: p.write_bytes(content))
