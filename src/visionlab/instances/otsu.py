"""The baseline that needs no training: brightness alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu


def otsu_maps(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the pixels that are brighter than Otsu's threshold of the whole frame, as maps for ``segment``.

    Otsu 1979, "A threshold selection method from gray-level histograms", IEEE Trans. Systems, Man, and Cybernetics. One
    threshold for all slices: one of its own would find objects in slices that have none. Each slice is smoothed first,
    by a Gaussian of one pixel, as anybody would who writes this by hand: noise has no objects.

    Args:
        image: Z x H x W x C of any scale; channels are averaged.

    Returns:
        Z x 1 x H x W of 0 and 1, to be segmented with ``separate="none"``; all 0 for a constant image.
    """
    grey = image[..., 0] if image.shape[-1] == 1 else image.mean(axis=-1, dtype=np.float32)
    smooth = gaussian_filter(grey.astype(np.float32), (0, 1, 1))
    return (smooth > threshold_otsu(smooth))[:, None].astype(np.float32)
