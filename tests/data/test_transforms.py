"""Augmentation of images with their maps: what shows one point stays at one place, what is filled in is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from visionlab.config.compose import choice
from visionlab.data.loader import Augment
from visionlab.errors import ConfigError

Array = np.ndarray[Any, Any]

SIDE = 64
# Each pixel says where it was: in the image as 4 x, 4 y and a third channel that is full wherever there is image.
Y, X = np.mgrid[:SIDE, :SIDE]
IMAGE = np.stack([4 * X, 4 * Y, np.full_like(X, 255)], axis=2).astype(np.uint8)
MASK = ((X // 8 + Y // 8) % 2).astype(np.float32)
DEPTH = (X + SIDE * Y).astype(np.float32)

STRONG = [
    {"transform": "Affine", "rotate": [-60, 60], "scale": [0.5, 1.5], "translate_percent": [-0.3, 0.3], "p": 1.0},
    {"transform": "ElasticTransform", "alpha": 60, "sigma": 5, "p": 1.0},
]
LISTS: dict[str, dict[str, list[Any]]] = {
    **{
        name: choice("augment", "augment", name) for name in ("fgbg", "fgbg_background", "depth_mask", "focus", "flips")
    },
    "affine": {"joint": STRONG[:1], "image": []},
    "elastic": {"joint": STRONG[1:], "image": []},
    "strong": {"joint": STRONG, "image": []},
}
EXACT = ("depth_mask", "focus", "flips")
# In pixels. Images are interpolated and maps take the nearest value, once for each of the transforms, of which the
# second sees pixels that the first has made larger.
TOLERANCE = {**dict.fromkeys(EXACT, 1e-4), "fgbg_background": 1.4, "strong": 2.1}


def joint(name: str) -> Augment:
    return Augment(LISTS[name]["joint"], [])


def whole(name: str) -> Augment:
    return Augment(LISTS[name]["joint"], LISTS[name]["image"])


def as_float(image: Array) -> Array:
    return image.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", LISTS)
def test_image_background_mask_and_depth_stay_aligned(name: str, dtype: str) -> None:
    image = IMAGE if dtype == "uint8" else as_float(IMAGE)
    augment, moved, offsets = joint(name), 0, []
    for seed in range(20):
        (found, background), (mask, depth) = augment([image, image], [MASK, DEPTH], seed)
        assert found.dtype == background.dtype == image.dtype
        assert mask.dtype == depth.dtype == np.float32
        assert np.array_equal(found, background), "image and background are moved alike"
        known = np.isfinite(depth)
        assert np.array_equal(known, np.isfinite(mask))
        assert known.mean() > 0.05
        y, x = np.divmod(np.where(known, depth, 0), SIDE)
        assert np.array_equal(mask[known], ((x // 8 + y // 8) % 2)[known]), "the mask comes from where the depth does"
        says = found.astype(np.float64) / (1 if dtype == "uint8" else 1 / 255)
        # At the border the image is mixed with what is filled in.
        inner = known & (says[..., 2] > 254.99)
        off = np.stack([says[..., 0] / 4 - x, says[..., 1] / 4 - y])[:, inner]
        assert np.abs(off).max() <= TOLERANCE.get(name, 0.65)
        offsets.append(off.mean(axis=1))
        moved += not np.array_equal(depth, DEPTH)
        if name in EXACT:
            assert known.all()
    assert moved > 3
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05, "nor are they apart by a part of a pixel"


@pytest.mark.parametrize("name", ["strong", "fgbg", "fgbg_background"])
def test_what_is_filled_in_is_unknown(name: str) -> None:
    filled = 0
    for seed in range(20):
        (found,), (mask, depth) = joint(name)([IMAGE], [MASK, DEPTH], seed)
        presence = found[..., 2]  # 255 where the image is, 0 where it was filled in, between the two at the border
        assert np.isnan(depth[presence == 0]).all()
        assert np.isnan(mask[presence == 0]).all()
        assert np.isfinite(depth[presence == 255]).mean() > 0.999
        filled += int((presence == 0).sum())
    assert filled > 1000


@pytest.mark.parametrize("name", [name for name, lists in LISTS.items() if lists["joint"]])
def test_holes_move_with_their_map_and_do_not_spread(name: str) -> None:
    holed = DEPTH.copy()
    hole = (X // 5 + Y // 7) % 3 == 0
    holed[hole] = np.nan
    for seed in range(6):
        _, (mask, depth, with_holes) = joint(name)([IMAGE], [MASK, DEPTH, holed], seed)
        known = np.isfinite(depth)
        y, x = np.divmod(depth[known].astype(int), SIDE)
        assert np.array_equal(np.isnan(with_holes[known]), hole[y, x])
        assert set(np.unique(mask[known])) <= {0, 1}


@pytest.mark.parametrize("name", [name for name, lists in LISTS.items() if lists["image"]])
def test_what_changes_values_never_touches_maps(name: str) -> None:
    """Alone it leaves them bit for bit as they are; after geometry, as the geometry left them."""
    only, holed, changed = Augment([], LISTS[name]["image"]), np.where(MASK > 0, np.nan, DEPTH), 0
    colourful = np.random.default_rng(0).integers(0, 256, IMAGE.shape, dtype=np.uint8)
    for seed in range(20):
        (found,), maps = only([colourful], [MASK, holed.astype(np.float32)], seed)
        for before, after in zip([MASK, holed.astype(np.float32)], maps, strict=True):
            assert np.array_equal(before.view(np.uint32), after.view(np.uint32))
        _, moved = whole(name)([colourful], [MASK, DEPTH], seed)
        _, expected = joint(name)([colourful], [MASK, DEPTH], seed)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(moved, expected, strict=True))
        changed += not np.array_equal(found, colourful)
    assert changed > 3


@pytest.mark.parametrize("name", LISTS)
def test_image_and_background_get_the_same_geometry_and_colours(name: str) -> None:
    """Two images that agree in half of their pixels agree there afterwards, and still differ in the others."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, IMAGE.shape, dtype=np.uint8)
    for seed in range(20):
        (one, same), _ = whole(name)([image, image], [], seed)
        assert np.array_equal(one, same)
    # Pointwise changes are one function of the value, whatever stands around it.
    recolour = [{"transform": "RandomBrightnessContrast", "p": 1.0}, {"transform": "HueSaturationValue", "p": 1.0}]
    background = image[:, ::-1].copy()
    background[:20] = 255 - background[:20]
    (found, beside), _ = Augment([], recolour)([image, background], [], 3)
    assert np.array_equal(found[20:, ::-1], beside[20:])
    assert not np.array_equal(found[20:], image[20:])


def test_one_seed_gives_one_result() -> None:
    augment = whole("fgbg_background")
    first = augment([IMAGE, IMAGE], [MASK, DEPTH], 7)
    augment([IMAGE], [MASK], 8)
    for before, after in zip(first, augment([IMAGE, IMAGE], [MASK, DEPTH], 7), strict=True):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))


def test_grey_images_keep_their_axis() -> None:
    for name in ("strong", "flips"):
        (found,), (mask,) = joint(name)([IMAGE[:, :, :1]], [MASK], 0)
        assert found.shape == (SIDE, SIDE, 1)
        assert mask.shape == (SIDE, SIDE)


def test_one_of_several_is_taken() -> None:
    across, down = {"transform": "HorizontalFlip", "p": 1.0}, {"transform": "VerticalFlip", "p": 1.0}
    wanted = {"across": DEPTH[:, ::-1], "down": DEPTH[::-1], "none": DEPTH}

    def outcomes(share: float) -> set[str]:
        augment = Augment([{"one_of": [across, down], "p": share}], [])
        found = [augment([IMAGE], [DEPTH], seed)[1][0] for seed in range(40)]
        names = [[name for name, like in wanted.items() if np.array_equal(depth, like)] for depth in found]
        return {name for one in names for name in (one or ["other"])}

    assert outcomes(1.0) == {"across", "down"}
    assert outcomes(0.5) == {"across", "down", "none"}


@pytest.mark.parametrize("name", ["Affine", "HorizontalFlip", "GridDistortion", "RandomCrop"])
def test_geometry_is_refused_where_maps_would_not_follow(name: str) -> None:
    entry = {"transform": name, "p": 1.0, **({"height": 8, "width": 8} if name == "RandomCrop" else {})}
    for entries in ([entry], [{"one_of": [{"transform": "Blur"}, entry], "p": 0.5}]):
        with pytest.raises(ConfigError, match=rf"augment\.image: {name} moves pixels.*write it in augment\.joint"):
            Augment([], entries)
        Augment(entries, [])
