"""A figure is data: panels of series, each one number per run and place. Drawing, legend, table and words follow.

A room declares figures and draws nothing. What lines against x cannot show is a panel of another kind (matrix, forest,
heat map, deviations), which offers what :class:`Panel` offers.
"""

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from rgflow.judging.points import last_steps, planned_steps
from rgflow.plots import marks, style
from rgflow.plots.panel import Handle, Part, Row, Series

MOST_NAMED = 6
"""Groups of numbers that a legend names one by one; more of them get a colour bar."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure: its words, its axes, its panels, and what it bears on.

    ``falsified_by`` maps a claim to what the figure would show if the claim were false; a figure that bears on no claim
    says in ``purpose`` what it is for. ``group`` names a group ("length {:g} tokens"), or maps groups to names. Scales
    of x: linear, log, step (training steps), whole (whole numbers); of y: linear, log, or a number, as a panel says.
    ``x_ticks`` are the ticks of x in place of its own.
    ``markers`` gives groups marks of their own, where colours alone would not tell them apart. ``columns`` panels stand
    side by side, at most three by default. With ``each_run`` single runs are drawn, faintly, where groups are few.
    ``called`` gives kinds other names; '' leaves a kind out of the legend. A lone column of panels fills the page only
    if ``wide``.
    """

    name: str
    caption: str
    panels: Sequence[Part]
    falsified_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    purpose: str = ""
    x: str = ""
    y: str = ""
    scale: str | float = "linear"
    x_scale: str = "linear"
    x_ticks: Sequence[float] = ()
    group: str | Mapping[Any, str] = "{}"
    colours: Mapping[Any, Any] | None = None
    markers: Mapping[Any, str] = dataclasses.field(default_factory=dict)
    columns: int = 0
    share_x: bool | str = True
    share_y: bool | str = True
    each_run: bool = False
    wide: bool = False
    called: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def name_of(self, group: Any) -> str:
        """Returns how a group is called."""
        return self.group.format(group) if isinstance(self.group, str) else self.group.get(group, str(group))

    def faint(self, series: Series) -> bool:
        """Returns whether the single runs of a series are drawn."""
        return self.each_run and len(series.runs) > 1 and len(self.groups) <= style.DISTINCT_COLOURS

    @property
    def side_by_side(self) -> int:
        """The number of panels in a row."""
        return self.columns or min(len(self.panels), 3)

    @functools.cached_property
    def groups(self) -> list[Any]:
        """The groups of all panels, in order."""
        found = list(dict.fromkeys(group for panel in self.panels for group in panel.groups))
        return sorted(found) if all(isinstance(group, int | float | np.number) for group in found) else found

    @property
    def rows(self) -> list[Row]:
        """The table behind the figure: every drawn number."""
        return [row for panel in self.panels for row in panel.rows(self)]

    @property
    def csv(self) -> str:
        """The table as CSV with a header line; '' where nothing is drawn."""
        rows = self.rows
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: "" if isinstance(v, float) and not np.isfinite(v) else v for k, v in r.items()} for r in rows
        )
        return buffer.getvalue() if rows else ""

    @property
    def alt(self) -> str:
        """The ends of every series in words, for those who cannot see the figure."""
        names = [getattr(panel, "name", "") or panel.title.replace("\n", ", ") for panel in self.panels]
        said = [": ".join(filter(None, [n, p.words(self)])) for n, p in zip(names, self.panels, strict=True)]
        axes = f"{self.y} against {self.x}. " if self.x and self.y else ""
        return f"{axes}{'. '.join(said)}."

    @property
    def falsified(self) -> str:
        """What would falsify which claim, in one text, or what a figure is for that bears on none."""
        said = "; ".join(f"{claim}: {text}" for claim, text in self.falsified_by.items())
        return f"{said}." if said else f"This figure tests no claim. {self.purpose}".strip()

    @property
    def texts(self) -> dict[str, Any]:
        """All words of the figure, as figures.json keeps them."""
        words = {"name": self.name, "caption": self.caption, "alt": self.alt}
        return words | {"claims": list(self.falsified_by), "falsified_by": self.falsified}

    @functools.cached_property
    def canvas(self) -> Canvas:
        """The drawing: panels in rows, one legend above them."""
        with style.style():
            count = len(self.panels)
            columns = self.side_by_side
            heights = [max(p.height for p in self.panels[k : k + columns]) for k in range(0, count, columns)]
            options = {"sharex": self.share_x, "sharey": self.share_y, "height_ratios": heights}
            canvas, axes = style.panels(len(heights), columns, sum(heights) / len(heights), self.wide, **options)
            colours = style.colours_of(self.groups) if self.colours is None else self.colours
            for place, one in enumerate(axes.flat):
                one.set_visible(place < count)
                if place < count:
                    self.panels[place].draw(one, self, colours)
                    if place % columns == 0 and self.y and not one.get_ylabel():
                        one.set_ylabel(self.y)
                    if self.share_x:
                        # Below the last panel of a column the numbers are written, whether or not its row is the last.
                        one.tick_params(labelbottom=place + columns >= count)
                        one.set_xlabel(one.get_xlabel() if place + columns >= count else "")
            self._explain(canvas, axes, colours)
            style.settle(canvas)
        return canvas

    def _explain(self, canvas: Canvas, axes: np.ndarray, colours: Mapping[Any, Any]) -> None:
        named = [group for group in self.groups if self.name_of(group)]
        numbers = all(isinstance(group, int | float | np.number) for group in named)
        handles: list[Handle] = []
        if numbers and len(named) > MOST_NAMED and self.colours is None:
            # One field for each group: the groups need not be evenly spaced, their colours are.
            fields = BoundaryNorm(np.arange(len(named) + 1) - 0.5, len(named))
            shades = ScalarMappable(fields, ListedColormap([colours[group] for group in named]))
            bar = canvas.colorbar(shades, ax=axes, pad=0.01, aspect=30, ticks=range(len(named)))
            bar.ax.set_yticklabels([self.name_of(group) for group in named])
            bar.ax.tick_params(length=0, which="both")
            bar.outline.set_visible(False)  # type: ignore[operator]
        elif len(named) > 1 or (named and self.name_of(named[0])):
            handles += [self._handle(group, colours[group]) for group in named]
        other = {str(handle.get_label()): handle for panel in self.panels for handle in panel.handles}
        for label, handle in other.items():
            handle.set_label(self.called.get(label, label))
        more = [handle for handle in other.values() if handle.get_label()]
        # One kind alone needs no name; a guide always does.
        kinds = {str(marks.handle(kind).get_label()) for kind in marks.KINDS}
        alone = len(other) == 1 and not handles and not kinds.isdisjoint(other)
        style.legend(canvas, [*handles, *(() if alone else more)])

    def _handle(self, group: Any, colour: Any) -> Line2D:
        marker = self.markers.get(group, "")
        look: dict[str, Any] = {"marker": marker, "linestyle": "none"} if marker else {}
        return Line2D([], [], color=colour, label=self.name_of(group), **look)

    @functools.cached_property
    def svg(self) -> bytes:
        """The figure as SVG with its text kept as text; equal figures give equal bytes."""
        buffer = io.BytesIO()
        with style.style():
            # Straight to the backend: savefig would draw twice, once to find the places that are settled.
            FigureCanvasSVG(self.canvas).print_svg(buffer, metadata=style.NO_METADATA)
        return buffer.getvalue()

    def save(self, directory: pathlib.Path) -> None:
        """Writes ``NAME.svg`` and ``NAME.png`` (150 dpi) into a folder, which is made when absent."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{self.name}.svg").write_bytes(self.svg)
        with style.style():
            self.canvas.dpi = style.PNG_DPI  # an SVG has set its own
            FigureCanvasAgg(self.canvas).print_png(directory / f"{self.name}.png", metadata={"Software": None})


def about_runs(dataset: xr.Dataset) -> str:
    """Returns the sentence that says how many runs are behind a figure and which are missing from it."""
    dead = int((dataset["died_at"] >= 0).sum())
    late = int(((last_steps(dataset) < planned_steps(dataset)) & (dataset["died_at"].values < 0)).sum())
    text = f"{dataset.sizes['run'] - dead} live runs; lines and points are means over runs, bands and bars Student's "
    text += "95 % intervals." + (f" Dead runs left out: {dead}." if dead else "")
    return text + (f" Unfinished runs, shown at their latest record: {late}." if late else "")
