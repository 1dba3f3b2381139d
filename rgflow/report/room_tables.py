"""Tables of a room that are too long for a page: one CSV file each, for those who want every number."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

Rows = Sequence[Mapping[str, Any]]


def tables_of(experiment_name: str, dataset: xr.Dataset) -> dict[str, Rows]:
    """Returns the tables of a room by name, made from its results alone; none for a room without tables."""
    # Imported here because a room is only read when one of its sweeps is.
    from rgflow.report import rank_flow_figures, rank_flow_robustness

    def rank_flow(dataset: xr.Dataset) -> dict[str, Rows]:
        rows = rank_flow_robustness.robustness_rows(rank_flow_figures.robustness_readings(dataset))
        return {"readings": rows} if rows else {}

    rooms: dict[str, Callable[[xr.Dataset], dict[str, Rows]]] = {"rank_flow": rank_flow}
    return rooms[experiment_name](dataset) if experiment_name in rooms else {}


def csv_text(rows: Rows) -> str:
    """Returns rows as CSV with a header line.

    Example:
        >>> csv_text([{"a": 1, "b": "x, y"}])
        'a,b\\n1,"x, y"\\n'
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
