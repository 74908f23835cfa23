"""One look for every figure: palette, sizes, title, caption, saving.

Figures are made with matplotlib's object interface (never pyplot), so they need no display and leave no state.
Matplotlib's constrained layout places everything.
"""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from visionlab.files import write_bytes

# Okabe & Ito 2008, "Color Universal Design", without the yellow that vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
BLUE, ORANGE, GREEN = PALETTE[:3]
GREY, INK, SOFT = "#8A8F98", "#24292F", "#57606A"
UNKNOWN: dict[str, Any] = {"facecolor": "#DDE1E6", "edgecolor": "#A3AAB3", "hatch": "/////"}
"""The look of pixels of which nothing is known."""

_RC: dict[str, Any] = {
    "font.size": 11,
    "font.family": "DejaVu Sans",  # comes with matplotlib: figures look alike on every machine
    "text.parse_math": False,  # names of groups and runs may hold a $
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.formatter.use_mathtext": False,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "grid.color": "#E4E7EB",
    "legend.fontsize": 10,
    "legend.frameon": False,
    "figure.dpi": 140,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function that draws a figure under this style, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return wrapper


def new(width: float = 7.0, height: float = 5.0) -> Figure:
    """Return an empty figure of that size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def grid(number: int, across: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many axes of that size in inches, up to ``across`` in a row."""
    across = min(across, number)
    rows = -(-number // across)
    figure = new(max(width * across, 5), height * rows + 1)
    every = figure.subplots(rows, across, squeeze=False, **options).ravel()
    for axes in every[number:]:
        axes.set_axis_off()
    return figure, list(every[:number])


def finish(figure: Figure, title: str, *notes: str, legend: Axes | None = None) -> Figure:
    """Write the title over the figure, the notes under it, and the legend of some axes above these, in one row."""
    width = figure.get_figwidth()
    room = width - 2.5 if figure.legends else width  # beside it
    figure.suptitle("\n".join(textwrap.wrap(title, int(9 * room))), x=0.01, ha="left")
    if legend is not None:
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2}
        legend.legend(ncols=4, **place)
    caption = textwrap.wrap(" · ".join(filter(None, notes)), int(12.5 * width))
    figure.supxlabel("\n".join(caption), fontsize=10, color=SOFT, x=0.01, ha="left")
    return figure


def whole(*axes: Axis, most: int = 6) -> None:
    """Let axes of counts have whole numbers only."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def plain_log(axes: Axes, axis: str) -> None:
    """Make an axis logarithmic with plain numbers on it (``0.001``, not mathematical text)."""
    axes.set(**{f"{axis}scale": "log"})
    chosen = axes.xaxis if axis == "x" else axes.yaxis
    chosen.set_major_formatter("{x:g}")
    chosen.set_minor_formatter(NullFormatter())


def rgb(colour: str) -> npt.NDArray[np.float32]:
    """Return red, green and blue in 0 to 1."""
    return np.array(to_rgb(colour), dtype=np.float32)


def save(figure: Figure, path: Path | str) -> Path:
    """Write the figure as a PNG (the folder is made) and return its path."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_bytes(Path(path), content.getvalue())
    return Path(path)
