"""A mosaic: small images on a square lattice side by side, so that many of them are seen at a glance."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgflow.plots import style
from rgflow.plots.panel import Handle, Row

GAPS = "#d4d4d4"


@dataclasses.dataclass(frozen=True)
class Mosaic:
    """Images [image, site], in rows of ``columns`` (a square by default); an image that is not a number is left out.

    Colours run from -1 to 1, whose meanings are the two ``ends``. With ``own_scale`` every image is drawn over its own
    largest absolute value, and one without any, which is marked by a cross, is called ``empty``. ``below`` is a short
    text under the mosaic.
    """

    title: str
    images: Float[np.ndarray, "image site"]
    ends: tuple[str, str]
    below: str = ""
    empty: str = ""
    own_scale: bool = False
    colours: str = "RdBu_r"
    columns: int = 0
    height: float = 2.6

    @property
    def groups(self) -> list[Any]:
        """No group is coloured."""
        return []

    @property
    def drawn(self) -> Float[np.ndarray, "shown site"]:
        """The images as they are drawn, from -1 to 1."""
        known = self.images[np.isfinite(self.images).all(axis=1)]
        largest = np.abs(known).max(axis=1, keepdims=True, initial=0)
        return np.divide(known, largest, where=largest > 0, out=np.zeros_like(known)) if self.own_scale else known

    @property
    def crosses(self) -> list[tuple[float, float]]:
        """The middles (x, y) of images without any value."""
        half = (self._side - 1) / 2
        return [(x + half, y + half) for (y, x), one in zip(self._corners, self.drawn, strict=True) if not one.any()]

    @property
    def picture(self) -> Float[np.ndarray, "_ _"]:
        """All images as one, NaN between them."""
        side, corners = self._side, self._corners
        picture = np.full((max(y for y, _ in corners) + side, max(x for _, x in corners) + side), np.nan)
        for (y, x), one in zip(corners, self.drawn, strict=True):
            picture[y : y + side, x : x + side] = one.reshape(side, side)
        return picture

    @property
    def _side(self) -> int:
        return round(self.images.shape[1] ** 0.5)

    @property
    def _corners(self) -> list[tuple[int, int]]:
        count = len(self.drawn)
        columns, step = self.columns or math.ceil(count**0.5), self._side + max(1, round(self._side / 10))
        return [(step * (k // columns), step * (k % columns)) for k in range(count)]

    @property
    def handles(self) -> list[Handle]:
        """The legend entries of both ends of the colours, and of crosses."""
        shades = style.shades(self.colours)
        found: list[Handle] = [
            Patch(facecolor=shades(end), edgecolor=style.GREY, label=name)
            for end, name in zip((0.0, 1.0), self.ends, strict=True)
        ]
        blank = Line2D([], [], color=style.GREY, marker="x", linestyle="none", label=self.empty)
        return [*found, *([blank] if self.crosses else [])]

    def rows(self, figure: Any) -> list[Row]:
        """Returns a row for every image, its values in the order of the sites."""
        title = self.title.replace("\n", ", ")
        return [
            {"panel": title, "image": number, "values": " ".join(f"{value:.3g}" for value in image)}
            for number, image in enumerate(self.drawn)
        ]

    def words(self, figure: Any) -> str:
        """Returns the text under the mosaic, or how many images there are."""
        return self.below or f"{len(self.drawn)} images"

    def draw(self, axes: Axes, figure: Any, colours: Mapping[Any, Any]) -> None:
        """Draws the images; without resampling a vector file holds every value once, however large it is drawn."""
        axes.set(title=self.title, xticks=[], yticks=[])
        axes.set_xlabel(self.below, fontsize=8)
        axes.spines[:].set_visible(False)
        axes.grid(False)
        if not len(self.drawn):
            style.say_empty(axes)
            return
        axes.set_facecolor(GAPS)
        axes.imshow(self.picture, cmap=style.shades(self.colours), vmin=-1, vmax=1, interpolation="none")
        for x, y in self.crosses:
            axes.plot([x], [y], marker="x", markersize=5, color=style.GREY)
