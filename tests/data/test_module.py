"""The data module: choice of groups, normalisation, and how images and maps lie on each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.celegans import image, labels, module, png
from tests.data.test_loader import data_module
from tests.io.test_contract import oriented
from visionlab.data.preprocess import ImageReader, Preprocess
from visionlab.errors import ConfigError, DataError
from visionlab.heads.mask.target import MaskReader


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": 2}, r"data\.folds and data\.fold: expected both"),
        ({"folds": 5}, r"data\.folds and data\.fold: expected both"),
        ({"folds": 5, "fold": 5}, r"data\.fold: expected 0 to 4"),
        ({"folds": 5, "fold": -1}, r"data\.fold: expected 0 to 4"),
        ({"val_fraction": 2.0}, r"data\.val_fraction: expected float above 0 and below 1"),
        ({"val_fraction": 0.6, "test_fraction": 0.6}, r"data\.val_fraction and data\.test_fraction: .*less than 1"),
        ({"fraction": 3.0}, r"data\.fraction: "),
        ({"normalize": (0.5, 0.0)}, r"data\.normalize: .*std above 0"),
        ({"columns": []}, r"data\.columns: expected a list of str with at least 1"),
        ({"gap": -3}, r"data\.gap: "),
        ({"blocks": 0}, r"data\.blocks: expected int of at least 2"),
    ],
)
def test_settings_given_in_python_are_checked(settings: dict[str, Any], message: str) -> None:
    from visionlab.data import CElegansLineageDataModule

    class Own(CElegansLineageDataModule):
        """Of a script, whose source is in no package."""

    for made in (CElegansLineageDataModule, Own):
        with pytest.raises(ConfigError, match=message):
            made(root="cells", **settings)


def test_tuples_and_paths_are_settings(focus_root: Path) -> None:
    from visionlab.data import FocusDataModule

    data = FocusDataModule(root=focus_root, image_size=(16, 24))  # type: ignore[call-arg, arg-type]
    assert (data.height, data.width, data.name) == (16, 24, str(focus_root))


def test_include_and_exclude_choose_groups(focus_root: Path) -> None:
    every = data_module(focus_root)
    names = sorted(set(every.table["group"]))
    some = data_module(focus_root, exclude=f"[{names[0]}]")
    assert set(some.table["group"]) == set(names[1:])
    only = data_module(focus_root, include=f"[{names[0]},{names[1]},{names[2]}]")
    assert set(only.table["group"]) == set(names[:3])
    with pytest.raises(DataError, match="nothing-like-it"):
        data_module(focus_root, include="[nothing-like-it*]")


@pytest.mark.parametrize("kind", ["f4", "u2"])
def test_augmentation_of_values_follows_the_range_of_the_images(tmp_path: Path, kind: str) -> None:
    import tifffile

    rng = np.random.default_rng(0)
    for group in range(5):
        for height in range(3):
            # Floats far above 1, or 12 bits in a 16-bit file.
            pixels = rng.uniform(100, 4000, (32, 32)).astype(kind)
            tifffile.imwrite(tmp_path / f"g{group}_{height}_{height - 1}.tif", pixels)
    data = data_module(tmp_path)
    full = 65535 if kind == "u2" else 1
    plain = data.loader("train").dataset
    changed = data.loader("train", train=True).dataset
    factors = []
    for epoch in range(12):
        before, after = plain[(epoch, 0, 0)]["image"] * full, changed[(epoch, 0, 0)]["image"] * full
        assert after.min() >= 99
        assert after.max() <= 4001
        assert 0.2 < float(after.std() / before.std()) < 1.8, "not washed out, not cut to nothing"
        factors.append(float(after.mean() / before.mean()))
    assert max(factors) - min(factors) > 0.05, "the brightness does change"


@pytest.mark.parametrize("normalize", ["dataset", "image", "[0.5,0.5]"])
def test_normalisation(focus_root: Path, normalize: str) -> None:
    import torch

    from visionlab.modules.task_model import Normalizer

    data = data_module(focus_root, normalize=normalize)
    images = torch.cat([batch["image"] for batch in data.loader("train")])
    out = Normalizer(normalize if normalize == "image" else "dataset", data.mean, data.std)(images)
    assert out.dtype == torch.float32
    if normalize == "image":
        assert torch.allclose(out.mean((1, 2, 3)), torch.zeros(len(out)), atol=1e-4)
        assert torch.allclose(out.std((1, 2, 3), correction=0), torch.ones(len(out)), atol=1e-3)
    elif normalize == "dataset":
        assert abs(float(out.mean())) < 1e-3
        assert abs(float(out.std()) - 1) < 1e-2
    else:
        assert torch.allclose(out, (images / 255 - 0.5) / 0.5)
    assert torch.isfinite(Normalizer("image", [0.0], [1.0])(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))).all(), "black"


def pairs(root: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Write images of 8 bits, changed, and a table of them."""
    lines = ["image,label"]
    for number in range(6):
        grey = (image((16, 16), number) // 10).astype(np.uint8)
        png(root / "images" / f"{number}.png", change(grey))
        png(root / "labels" / f"{number}.png", labels((16, 16)))
        lines.append(f"images/{number}.png,labels/{number}.png")
    (root / "pairs.csv").write_text("\n".join(lines) + "\n")
    return root


def test_alpha_is_no_intensity(tmp_path: Path) -> None:
    plain = module(pairs(tmp_path / "grey", lambda grey: grey), table="pairs.csv")
    alpha = module(
        pairs(tmp_path / "rgba", lambda grey: np.dstack([grey] * 3 + [np.full_like(grey, 255)])), table="pairs.csv"
    )
    plain.setup()
    alpha.setup()
    assert plain.images[0].limits is not None
    assert alpha.images[0].limits is not None
    assert np.array_equal(alpha.images[0].limits, plain.images[0].limits)
    assert np.array_equal(alpha.facts[["p50", "p99.8"]], plain.facts[["p50", "p99.8"]])


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
