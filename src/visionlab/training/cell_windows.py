"""Windows of slices with instances as training sees them: examples of each split, and what is predicted meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from visionlab.data.module import ImageDataModule
from visionlab.drawing.images import stretch
from visionlab.drawing.outlines import shade
from visionlab.reports.cell_panes import CellView
from visionlab.reports.cells import cell_collage, cell_examples
from visionlab.training.cell_pictures import spread

Array = np.ndarray[Any, Any]
View = Callable[[int], Array]
"""Row of the index -> the image for looking at, see :func:`visionlab.training.sample_pictures.view`."""

EXAMPLES = 4
"""Of each split."""
_HALF = 0.5


def instance_examples(data: ImageDataModule, view: View) -> Any:
    """Return a figure of samples of each split with the outlines of their objects, without those that have none.

    Args:
        data: set up.
        view: how images are looked at.
    """
    name, stored = next(iter(data.stored_maps.items()))
    share = stored.facts["share"].to_numpy()
    views, titles = [], []
    for split, rows in data.rows.items():
        full = rows[share[rows] > 0] if (share[rows] > 0).any() else rows
        for row in full[spread(len(full), EXAMPLES)]:
            views.append(window_view(data, int(row), name, view))
            titles.append(f"{split}: {views[-1].name}")
    scaled = "each time point stretched as one" if data.preprocess.scale == "percentile" else ""
    words = [f"{data.name}: samples of each split that have objects, in windows as training sees them", scaled]
    return cell_examples(views, titles, " · ".join(filter(None, words)))


def window_view(data: ImageDataModule, row: int, name: str, view: View, probability: Array | None = None) -> CellView:
    """Return the window of a sample that training sees, with what was predicted for it.

    Objects are the connected parts of the foreground from a probability of 0.5 on.

    Args:
        data: set up.
        row: of the index.
        name: of the map of instances.
        view: how images are looked at.
        probability: of the foreground, H x W; None where nothing is predicted.
    """
    stored = data.stored_maps[name].map(row, *data.window(row))
    true = np.where(np.isfinite(stored), stored, -1).astype(np.int64)
    mask = None if probability is None else probability >= _HALF
    pred = None if mask is None else ndimage.label(mask)[0]
    image = view(row)
    shown = shade(image, (0, 1)) if data.preprocess.scale == "percentile" else stretch(image)
    return CellView(str(data.table["id"].iloc[row]), shown, true, pred, mask)


def window_grid(views: Sequence[CellView], caption: str) -> Any:
    """Return the windows of samples while training, one row each; objects are told apart where the truth does so."""
    apart = any(len(np.unique(view.true[view.true > 0])) > 1 for view in views)
    words = f"{caption} · foreground from 0.5 on, touching objects not parted"
    return cell_collage([("", views)], words, instances=apart, scaled=False)
