"""Files and arrays: one way in for pixels and one way out.

:func:`open_volume` says what a file is and reads its planes, :func:`read_image` reads one; masks, depth maps and labels
are read by functions of their own. :mod:`visionlab.io.encoding` writes PNG, JPEG and TIFF.
"""

from visionlab.io.encoding import StackWriter
from visionlab.io.formats import (
    IMAGE_SUFFIXES,
    LOSSLESS_SUFFIXES,
    VOLUME_SUFFIXES,
    open_labels,
    open_volume,
    plane,
    read_image,
    split_plane,
    stored_file,
)
from visionlab.io.maps import read_depth, read_labels, read_mask, resize_depth, resize_mask, same_view
from visionlab.io.pixels import MAX_VALUES, Image, dtype_range, native, to_channels
from visionlab.io.volume import AxesError, Stains, Volume, VoxelSize, check_axes

__all__ = [
    "IMAGE_SUFFIXES",
    "LOSSLESS_SUFFIXES",
    "MAX_VALUES",
    "VOLUME_SUFFIXES",
    "AxesError",
    "Image",
    "StackWriter",
    "Stains",
    "Volume",
    "VoxelSize",
    "check_axes",
    "dtype_range",
    "native",
    "open_labels",
    "open_volume",
    "plane",
    "read_depth",
    "read_image",
    "read_labels",
    "read_mask",
    "resize_depth",
    "resize_mask",
    "same_view",
    "split_plane",
    "stored_file",
    "to_channels",
]
