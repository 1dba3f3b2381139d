"""Sheets: figures of one page's width and any height, whose panels are laid out by their own rules."""

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rgflow.report.figures import WIDTH_INCHES

MARGIN_INCHES = 0.12
"""Thrice matplotlib's own: a browser may have a wider font than the one that the layout is made with."""


def sheet(height: float) -> Figure:
    """Returns an empty figure of one page's width; height in inches."""
    return Figure(figsize=(WIDTH_INCHES, height), layout=ConstrainedLayoutEngine(w_pad=MARGIN_INCHES))
