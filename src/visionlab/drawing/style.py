"""One look for every figure: palette, sizes, caption, saving.

Figures are made with matplotlib's object interface (never pyplot), so they need no display and leave no state.
"""

from __future__ import annotations

import functools
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import numpy.typing as npt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

# Okabe & Ito 2008, "Color Universal Design", without the yellow that vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
BLUE, ORANGE, GREEN = PALETTE[0], PALETTE[1], PALETTE[2]
GREY, INK, SOFT = "#8A8F98", "#24292F", "#57606A"
DENSITY = "cividis_r"
UNKNOWN: dict[str, Any] = {"facecolor": "#DDE1E6", "edgecolor": "#A3AAB3", "hatch": "/////"}
"""The look of pixels of which nothing is known."""

_RC: dict[str, Any] = {
    "font.size": 12,
    "font.family": "DejaVu Sans",  # comes with matplotlib: figures look alike on every machine
    "text.parse_math": False,  # names of groups and runs may hold a $
    "text.color": INK,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 12,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.formatter.use_mathtext": False,
    "grid.color": "#E4E7EB",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "figure.dpi": 140,
    "figure.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a function that draws a figure under this style, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_RC)  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return wrapper


def new(width: float = 7.0, height: float = 5.0, *, fixed: bool = False) -> Figure:
    """Return an empty figure of that size in inches; ``fixed``: everything is placed by hand."""
    figure = Figure(figsize=(width, height), layout=None if fixed else "constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, caption: str) -> Figure:
    """Write the caption under the figure: what it shows, and ``generated sample`` where that is so."""
    if caption:
        words = "\n".join(lines(caption, figure.get_figwidth()))
        figure.supxlabel(words, fontsize=10, color=SOFT, x=0.01, ha="left")
    return figure


def lines(caption: str, width: float) -> list[str]:
    """Return the lines of a caption under a figure so many inches wide."""
    return textwrap.wrap(caption, max(int(12.5 * width), 40))


def legend_above(axes: Axes, title: str, **options: Any) -> None:
    """Write the title and, in one row under it, the legend: above the axes, where neither hides data."""
    handles, labels = axes.get_legend_handles_labels()
    placed = {"loc": "lower left", "bbox_to_anchor": (-0.01, 1.0), "borderaxespad": 0.2, "borderpad": 0.2}
    look = {"ncols": len(handles), "handlelength": 1.4, "handletextpad": 0.5, "columnspacing": 1.4}
    axes.legend(handles, labels, **{**placed, **look, **options})
    write_title(axes, title, pad=30)


def head(figure: Figure, axes: Axes, title: str) -> None:
    """Write the title and, in one row under it, the legend of the axes: from the left edge of a figure on.

    For figures whose names on the left take much of the width.
    """
    size = 13 * min(1, 9 * figure.get_figwidth() / len(title))
    # A second, empty line of the title makes room for the legend.
    figure.suptitle(f"{title}\n ", x=0.01, ha="left", fontweight="bold", fontsize=size, linespacing=1.7)
    handles, labels = axes.get_legend_handles_labels()
    spot = (0.0, 1 - 0.27 / figure.get_figheight())
    figure.legend(handles, labels, loc="upper left", bbox_to_anchor=spot, ncols=len(handles), columnspacing=1.4)


def write_title(axes: Axes, title: str, pad: float = 10) -> None:
    """Write the title of the only axes across a figure, smaller where the names in it make it too long."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = 9 * (figure.get_figwidth() - 1.2)  # characters of the usual size
    axes.set_title(title, pad=pad, fontsize=13 * min(1, room / len(title)))


def plain_log(axes: Axes, axis: str) -> None:
    """Make an axis logarithmic with plain numbers on it (``0.001``, not mathematical text)."""
    getattr(axes, f"set_{axis}scale")("log")
    chosen = getattr(axes, f"{axis}axis")
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = sorted(getattr(axes, f"get_{axis}lim")())
    within = high / low < 20
    chosen.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if within and _leading(value) else ""))


def _leading(value: float) -> bool:
    return f"{value:e}"[0] in "25"


def rgb(colour: str) -> npt.NDArray[np.float32]:
    """Return red, green and blue in 0 to 1."""
    return np.array(to_rgb(colour), dtype=np.float32)


def label(text: str) -> str:
    """Return a legend label that matplotlib shows: it hides those that begin with an underscore."""
    return f" {text}" if text.startswith("_") else text


def save(figure: Figure, path: Path | str) -> Path:
    """Write the figure as a PNG (the folder is made) and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(part, format="png", metadata={"Software": None})
    part.replace(path)
    return path
