"""An image and its map lie on each other as they are displayed, whatever their orientation tags say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.io.test_formats import oriented
from visionlab.data.preprocess import Preprocess
from visionlab.data.readers import ImageReader
from visionlab.errors import DataError
from visionlab.heads.mask.target import MaskReader

SHOWN = np.zeros((20, 12), np.uint8)
SHOWN[2:9, 1:5] = 255
NATIVE = Preprocess(1, 8, 8, "native", "uint8")


@pytest.mark.parametrize("image", ["a.png", "a.tif", "a.jpg"])
@pytest.mark.parametrize("mask", ["m.png", "m.tif", "m.jpg"])
def test_files_of_one_sample_are_compared_as_displayed(tmp_path: Path, image: str, mask: str) -> None:
    stored = np.ascontiguousarray(np.rot90(SHOWN))  # turned back by tag 6
    picture = oriented(tmp_path / image, stored, 6)
    reader = ImageReader()
    head = reader.header(picture)
    assert (head.height, head.width) == SHOWN.shape
    seen, _ = reader.read(picture, 0, NATIVE)
    masks = MaskReader([(SHOWN.shape, seen.shape[:2])], 128)
    for path in (oriented(tmp_path / mask, stored, 6), oriented(tmp_path / f"plain_{mask}", SHOWN, 1)):
        kept, _ = masks.read(path, 0, NATIVE)
        assert (masks.header(path).height, masks.header(path).width) == SHOWN.shape
        np.testing.assert_array_equal(kept, seen >= 128)
    # Its tag was lost: it would lie across the image.
    with pytest.raises(DataError, match=r"12 x 20 pixels, but its image has 20 x 12"):
        masks.read(oriented(tmp_path / f"lost_{mask}", stored, 1), 0, NATIVE)
