from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.test_loader import data_module
from visionlab.errors import DataError

Write = Callable[[Path, object], None]


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


def test_the_generated_sample_is_announced_and_made_once(
    own_cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionlab import samples
    from visionlab.config.compose import compose
    from visionlab.training.assembly import make_data

    made = []
    real = samples.write

    def small(task: str, root: Path) -> Path:
        made.append(root)
        return real(task, root, fields=3, heights=3, image_size=32)

    monkeypatch.setattr(samples, "write", small)
    with caplog.at_level(logging.INFO, logger="visionlab"):
        for _ in range(2):
            data = make_data(compose(["task=focus", f"data.cache_dir={own_cache / 'announced'}"]))
            root = data.locate()
    assert len(made) == 1
    assert data.name == "generated sample"
    assert str(root) in caplog.text
    assert "synthetic" in caplog.text


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


def test_a_black_image_normalises_to_numbers() -> None:
    import torch

    from visionlab.modules.task_model import Normalizer

    out = Normalizer("image", [0.0], [1.0])(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    assert torch.isfinite(out).all()
