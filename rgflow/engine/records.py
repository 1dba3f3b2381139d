"""Files of a workdir: one record file per recorded step and group, merged into one labelled results.nc.

Where several processes share a sweep, each writes the rows (runs) that it holds to a file of its own.
"""

import json
import os
import pathlib
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rgflow.engine import health
from rgflow.engine.grid import Group
from rgflow.engine.plan import Plan, distinct
from rgflow.protocol import Experiment
from rgflow.schema import files

if TYPE_CHECKING:  # only merging needs xarray, which takes a quarter of a second to load
    import xarray

DIED_AT, NAMES = "died_at", "names_of_arrays"
RUN_COORDINATES = ("run", "step", "seed")
"""What the results call themselves: no array and no swept value has these names."""

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
            for name, values in {NAMES: _packed(record), **record}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(values), allow_pickle=False)

    write_atomically(path, write)


def _is_record(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether arrays are what a sweep records: numbers, with one row for each run."""
    died = arrays[DIED_AT]
    if died.ndim != 1 or died.dtype.kind != "i":
        return False
    return all(x.ndim and len(x) == len(died) and x.dtype.kind in "fiub" for x in arrays.values())


def _read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a file, or None when it is absent or damaged (npz members carry checksums)."""
    try:
        with files.opened(path) as content, np.load(content, allow_pickle=False) as file:
            # numpy reads as far as an array's header says, which may end before the place where checksums are compared.
            # If a part of the table of contents is lost, the last member, died_at, is lost first.
            # A record is not compressed: members that claim to be larger than the file would fill the memory.
            claimed = sum(member.file_size for member in file.zip.infolist())
            if DIED_AT not in file.files or claimed > path.stat().st_size or file.zip.testzip() is not None:
                return None
            arrays = {name: file[name] for name in file.files}
        names = bytes(arrays.pop(NAMES, _packed(arrays))).decode().split("\n")
        return arrays if names == sorted(arrays) and _is_record(arrays) else None
    except Exception:  # damage to an archive's own fields surfaces as any error: RuntimeError, NotImplementedError, ...
        return None


def _packed(names: Iterable[str]) -> np.ndarray:
    """Returns the names of a record's arrays as bytes, which it holds itself: one that is lost is missed."""
    return np.frombuffer("\n".join(sorted(names)).encode(), np.uint8)


Form = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Names, dtypes and shapes, without the axis of the runs, of the arrays of a record."""


def _form(record: Mapping[str, np.ndarray]) -> Form:
    return tuple(sorted((name, x.dtype.str, x.shape[1:]) for name, x in record.items()))


def _usual(forms: Iterable[Form]) -> Form | None:
    """Returns the form that most records of a group have; of two forms as frequent, that of more arrays."""
    counted = Counter(forms)
    return max(counted, key=lambda form: (counted[form], len(form)), default=None)


def _parts(path: pathlib.Path, runs: int) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Yields the rows and the arrays of every file that one of several processes wrote instead of ``path``."""
    for part in sorted(path.parent.glob(f"{path.stem}.*-*.npz")):
        named = re.fullmatch(r"\.(\d{1,18})-(\d{1,18})", part.suffixes[-2])
        arrays = _read(part)
        if named and arrays and len(arrays[DIED_AT]) == int(named[2]) - int(named[1]) and int(named[2]) <= runs:
            yield slice(int(named[1]), int(named[2])), arrays


def _join(workdir: pathlib.Path, group: str, step: int, runs: int) -> dict[str, np.ndarray] | None:
    """Returns a record put together from the files of several processes, or None when rows are missing."""
    parts = list(_parts(record_path(workdir, group, step), runs))
    usual = _usual(_form(arrays) for _, arrays in parts)
    held, whole = np.zeros(runs, bool), {}
    for rows, arrays in ((rows, arrays) for rows, arrays in parts if _form(arrays) == usual):
        for name, values in arrays.items():
            whole.setdefault(name, np.zeros((runs, *values.shape[1:]), values.dtype))[rows] = values
            held[rows] = True
    return whole if held.all() else None


def read_record(workdir: pathlib.Path, group: str, step: int, runs: int) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a record, [run, ...], or None when some of it is absent or damaged."""
    whole = _read(record_path(workdir, group, step))
    return whole if whole is not None and len(whole[DIED_AT]) == runs else _join(workdir, group, step, runs)


def missing(workdir: pathlib.Path, group: Group, schedule: Sequence[int]) -> list[int]:
    """Returns the scheduled steps whose record is absent, damaged, or of another form than the rest of the group."""
    found = ((step, read_record(workdir, group.name, step, len(group.runs))) for step in schedule)
    forms = {step: _form(record) for step, record in found if record is not None}
    usual = _usual(forms.values())
    return [step for step in schedule if step not in forms or forms[step] != usual]


def steps_on_disk(workdir: pathlib.Path) -> dict[str, set[int]]:
    """Returns the steps of every group that have a file, damaged or not."""
    found: dict[str, set[int]] = {}
    for path in (workdir / "chunks").glob("*"):
        # NAME-STEP.npz, or NAME-STEP.FIRST-LAST.npz where several processes wrote.
        if name := re.fullmatch(r"(\w+)-(\d{9,18})(\.\d+-\d+)?\.npz", path.name):
            found.setdefault(name[1], set()).add(int(name[2]))
    return found


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


def _departs(record: Mapping[str, np.ndarray], experiment: Experiment, swept: Iterable[str]) -> str:
    """Returns in which array a record does not fit the dims and coords that its experiment declares; '' for none."""
    labels, taken = experiment.coords, {*experiment.coords, *RUN_COORDINATES, *swept}
    for name, values in record.items():
        dims, shape = experiment.dims.get(name, ()), values.shape[1:]
        same = len(dims) == len(shape) and all(
            n == len(labels.get(d, range(n))) for d, n in zip(dims, shape, strict=True)
        )
        if not same or name in taken:
            return f"{name} has the shape {shape}"
    return ""


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
    absent = {group.name: set(missing(workdir, group, plan.schedule(group))) for group in plan.groups}
    declared = {group.name: plan.experiments(group)[0] for group in plan.groups}

    def read(group: Group, step: int) -> dict[str, np.ndarray] | None:
        if step in absent[group.name] or (record := read_record(workdir, group.name, step, len(group.runs))) is None:
            return None
        if why := _departs(record, declared[group.name], group.runs[0].values):
            remedy = "remove the files of this group and start the sweep again, which computes them"
            raise files.Unreadable(workdir / "chunks", f"no records of this experiment in {group.name}: {why}", remedy)
        return record

    found = assembled(plan, read, attributes)
    if found is None:
        raise FileNotFoundError(f"{workdir} holds no records yet: run the sweep until its first record")
    return found


def write_results(path: pathlib.Path, dataset: "xarray.Dataset") -> None:
    """Writes results.nc (netCDF4 through h5netcdf), atomically."""
    # The file is made in memory: HDF5 ends the whole process when the disk fails under an open file.
    content = dataset.to_netcdf(engine="h5netcdf")
    write_atomically(path, lambda p: p.write_bytes(content))
