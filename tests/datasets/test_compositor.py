"""Composing cut-outs and backgrounds: geometry, blending, determinism, resuming, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from visionlab.datasets.compositor import Compositor, paste, read_background, read_cutout, resize
from visionlab.datasets.depth_mask import scan
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.io import read_image

SETTINGS: dict[str, Any] = {
    "per_pair": 2,
    "flips": True,
    "scale": [0.3, 0.8],
    "image_size": None,
    "mask_threshold": 200,
    "image_format": "jpg",
    "workers": 2,
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Three backgrounds (40 x 48 pixels) and two cut-outs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "sources"
    for name in ("a", "b", "sub/c"):
        write(folder / "bg" / f"{name}.png", rng.integers(0, 256, (40, 48, 3)))
    write(folder / "cut" / "disk.png", disk(33, 25, (200, 60, 20)))
    write(folder / "cut" / "wide.png", disk(12, 30, (10, 90, 220)))
    return folder


def write(path: Path, image: Any, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(np.asarray(image, dtype)))


def disk(height: int, width: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """An RGBA ellipse with a soft edge, black where it is clear, in an empty frame 3 pixels wide."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((1 - np.hypot(y, x)) * min(height, width) / 4 + 0.5, 0, 1)
    image = np.zeros((height + 6, width + 6, 4), np.uint8)
    image[3:-3, 3:-3, :3] = np.where(alpha[..., None] > 0, colour, 0)
    image[3:-3, 3:-3, 3] = np.rint(255 * alpha)
    return image


def make(root: Path, sources: Path, seed: int = 0, **changes: Any) -> Compositor:
    folders = {"backgrounds": str(sources / "bg"), "cutouts": str(sources / "cut")}
    return Compositor(root, seed, **{**folders, **SETTINGS, **changes})


def digest(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".composite.lock")
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The set --------------------------------------------------------------------------------------------------------------


def test_every_cutout_is_on_every_background_in_the_layout_of_the_task(sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources).run()
    stems = [f"bg_{b:03d}/{c:03d}/{k:03d}" for b in (1, 2, 3) for c in (1, 2) for k in (1, 2, 3, 4)]
    expected = {f"fgbg/{s}.jpg" for s in stems} | {f"fgbgmask/{s}.png" for s in stems}
    assert set(digest(root)) == expected | {f"bg/bg_{b:03d}.jpg" for b in (1, 2, 3)} | {"composite.json"}
    for stem in stems:
        image, mask = read_image(root / f"fgbg/{stem}.jpg"), read_image(root / f"fgbgmask/{stem}.png")
        assert image.shape == (40, 48, 3) and mask.shape == (40, 48, 1) and set(np.unique(mask)) == {0, 255}
    table, problems = scan(root, layout="auto", table=None, per_background=1, group_pattern=None)
    assert problems == [] and len(table) == 24
    assert set(table["group"]) == {"bg_001", "bg_002", "bg_003"} and set(table["foreground"]) == {"001", "002"}


def test_images_depend_on_seed_and_sources_not_on_workers_or_other_files(sources: Path, tmp_path: Path) -> None:
    one = digest(make(tmp_path / "one", sources, workers=1).run())
    assert digest(make(tmp_path / "four", sources, workers=4).run()) == one
    other = digest(make(tmp_path / "other", sources, seed=1).run())
    images = [name for name in one if name.startswith("fgbg/")]
    assert not [name for name in images if one[name] == other[name]], "the seed changes nothing"
    assert len({one[name] for name in images}) == len(images), "the same image twice"
    (sources / "bg" / "b.png").unlink()
    fewer = digest(make(tmp_path / "fewer", sources).run())
    assert fewer["fgbg/bg_002/001/001.jpg"] == one["fgbg/bg_003/001/001.jpg"]


def test_sizes_and_places(sources: Path, tmp_path: Path) -> None:
    """The larger share of height or width is in the range; everything lies inside, and all over the image."""
    root = make(tmp_path / "set", sources, per_pair=60, flips=False, mask_threshold=128, scale=[0.4, 0.7]).run()
    shares, centres = [], []
    for path in sorted((root / "fgbgmask").rglob("*.png")):
        rows, columns = (np.flatnonzero((read_image(path)[..., 0] > 0).any(axis)) for axis in (1, 0))
        shares.append(max((np.ptp(rows) + 1) / 40, (np.ptp(columns) + 1) / 48))
        centres.append(((rows[0] + rows[-1]) / 80, (columns[0] + columns[-1]) / 96))
    # The edge pixels of a soft outline may stay below the threshold.
    assert 0.3 < min(shares) < 0.42 and 0.66 < max(shares) < 0.71
    assert np.ptp(centres, axis=0).min() > 0.4
    assert np.mean(centres, axis=0) == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.parametrize("threshold", [200, 1, 255])
def test_at_the_original_size_pixels_and_masks_are_exact(threshold: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cutout = rng.integers(0, 256, (40, 48, 4))
    cutout[:, 20, 3], cutout[0, 0, 3], cutout[-1, -1, 3] = np.linspace(1, 255, 40), 1, 1
    background = rng.integers(0, 256, (40, 48, 3))
    write(tmp_path / "cut" / "a.png", cutout)
    write(tmp_path / "bg" / "b.png", background)
    options: dict[str, Any] = {"scale": [1, 1], "per_pair": 1, "image_format": "png", "mask_threshold": threshold}
    root = make(tmp_path / "set", tmp_path, **options).run()
    plain, mirrored = (read_image(root / f"fgbgmask/bg_001/001/{k}.png")[..., 0] for k in ("001", "002"))
    assert (plain == 255 * (cutout[..., 3] >= threshold)).all()
    assert (mirrored == plain[:, ::-1]).all(), "the second image is not the mirror image"
    image, clear, full = read_image(root / "fgbg/bg_001/001/001.png"), cutout[..., 3] == 0, cutout[..., 3] == 255
    assert (image[clear] == background[clear]).all() and (image[full] == cutout[full][:, :3]).all()
    assert (read_image(root / "bg/bg_001.png") == background).all()


# Blending -------------------------------------------------------------------------------------------------------------


def test_half_of_white_on_black_is_half_the_light() -> None:
    cutout = np.full((2, 2, 4), 0.5, np.float32)
    image, mask = paste(np.zeros((4, 4, 3), np.uint8), cutout, 1, 2, 128)
    assert (image[1:3, 2:] == 188).all() and image.sum() == 188 * 12  # sRGB of 0.5 is 0.7354
    assert (mask[1:3, 2:] == 255).all() and mask.sum() == 4 * 255
    assert not paste(np.zeros((4, 4, 3), np.uint8), cutout, 1, 2, 129)[1].any()


@pytest.mark.parametrize("size", [(11, 9), (60, 50)])
def test_no_fringe_of_what_lies_under_clear_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    """An object of the background's own colour vanishes, though black lies around it."""
    write(tmp_path / "a.png", disk(33, 27, (180, 120, 40)))
    background = np.full((64, 64, 3), (180, 120, 40), np.uint8)
    image, mask = paste(background, resize(read_cutout(tmp_path / "a.png", 200), *size), 2, 2, 200)
    assert np.abs(image.astype(int) - background).max() <= 1
    assert 0 < mask.mean() < 255


def test_sources_of_16_bits_and_of_grey(tmp_path: Path) -> None:
    image = disk(20, 20, (255, 255, 255))
    write(tmp_path / "rgba8.png", image)
    write(tmp_path / "rgba16.png", image.astype(np.uint16) * 257, np.uint16)
    image[..., :3] = 255
    write(tmp_path / "gray8.png", np.ascontiguousarray(image[..., [0, 3]]))
    expected = read_cutout(tmp_path / "rgba8.png", 200)
    assert expected.shape == (20, 20, 4) and expected.dtype == np.float32
    for name in ("rgba16", "gray8"):
        np.testing.assert_allclose(read_cutout(tmp_path / f"{name}.png", 200), expected, atol=1e-6, err_msg=name)
    write(tmp_path / "deep.png", np.full((20, 20, 1), 30000), np.uint16)
    assert (read_background(tmp_path / "deep.png", None) == 117).all()


# Resuming and refusals ------------------------------------------------------------------------------------------------


def test_goes_on_where_it_was(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = digest(make(tmp_path / "whole", sources).run())
    write_pair, root = Compositor.write_pair, tmp_path / "set"

    def interrupted(self: Compositor, background: int, cutout: int) -> None:
        if background == 1:
            raise OSError(28, "No space left on device")
        write_pair(self, background, cutout)

    monkeypatch.setattr(Compositor, "write_pair", interrupted)
    with pytest.raises(DataError, match="No space left on device"):
        make(root, sources, workers=1).run()
    monkeypatch.undo()
    folders = list(root.glob("fgbg/*/*"))
    assert 0 < len(folders) < 6 and all(len(list(folder.iterdir())) == 4 for folder in folders)
    (root / "fgbg" / "bg_003").mkdir(exist_ok=True)
    (root / "fgbg" / "bg_003" / ".002.0123.part").mkdir()
    (root / "fgbg" / "bg_001" / "002" / "003.jpg").unlink()
    shutil.rmtree(root / "bg")
    kept = root / "fgbg" / "bg_001" / "001" / "001.jpg"
    before = kept.stat().st_mtime_ns
    assert digest(make(root, sources).run()) == whole
    assert kept.stat().st_mtime_ns == before, "what was there is made again"
    assert not list(root.glob("*/*/.*"))


@pytest.mark.parametrize(
    "change",
    [{"seed": 5}, {"per_pair": 3}, {"scale": [0.3, 0.9]}, {"flips": False}, {"image_format": "png"},
     {"image_size": 32}, {"mask_threshold": 128}],
)  # fmt: skip
def test_other_settings_and_sources_are_refused(change: dict[str, Any], sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources).run()
    before = digest(root)
    with pytest.raises(UsageError, match=f"was made with another (make.)?{next(iter(change))}[,;]?"):
        make(root, sources, **change).run()
    write(sources / "cut" / "wide.png", disk(12, 30, (10, 90, 221)))
    with pytest.raises(UsageError, match=r"was made with another make\.cutouts, "):
        make(root, sources).run()
    assert digest(root) == before


def _floating(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "bg" / "x.tif", np.full((32, 32, 3), 7.5, np.float32), photometric="rgb")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: write(f / "cut" / "x.png", np.zeros((20, 20, 3))), r"x\.png: expected a cut-out with an alpha"),
        (lambda f: write(f / "cut" / "x.png", np.full((20, 20, 4), 255)), r"x\.png: .* found 255 to 255"),
        (lambda f: write(f / "cut" / "x.png", disk(20, 20, (9, 9, 9)) // 2), r"mask_threshold.* found 0 to 127"),
        (lambda f: write(f / "bg" / "x.png", disk(20, 20, (9, 9, 9))), r"x\.png: 4 channels found, 3 wanted"),
        (lambda f: (f / "bg" / "x.png").write_bytes(b""), r"1 of 4 backgrounds cannot be used:\n.*x\.png: .*empty"),
        (lambda f: shutil.rmtree(f / "cut"), "found no such folder"),
        (lambda f: [path.unlink() for path in (f / "cut").iterdir()], r"found none; check make\.cutouts"),
        (lambda f: (f / "cut" / "wide.png").rename(f / "cut" / "w\udce4.png"), r"1 of 2 cutouts .*\n.*not valid UTF-8"),
        (_floating, r"x\.tif: expected values from 0 to 1"),
    ],
    ids=["no alpha", "opaque", "faint", "alpha", "empty", "no folder", "nothing", "name", "float"],
)
def test_bad_sources(spoil: Callable[[Path], Any], message: str, sources: Path, tmp_path: Path) -> None:
    spoil(sources)
    with pytest.raises(DataError, match=message):
        make(tmp_path / "set", sources).run()
    assert not (tmp_path / "set").exists()


def test_a_folder_that_is_not_for_it(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for root, message in ((tmp_path / "full", r"found mine\.txt"), (tmp_path / "full" / "mine.txt", "found a file")):
        with pytest.raises(DataError, match=message):
            make(root, sources).run()
    with pytest.raises(UsageError, match="lies in"):
        make(sources / "bg" / "set", sources).run()
    with pytest.raises(ConfigError, match=r"make\.scale=\[0\.8, 0\.3\]: expected \[least, largest\]"):
        make(tmp_path / "set", sources, scale=[0.8, 0.3])
    root = tmp_path / "set"
    root.mkdir()
    with FileLock(root / ".composite.lock"), pytest.raises(UsageError, match="another process"):
        make(root, sources).run()
    (root / "composite.json").write_text('{"format": 1')
    with pytest.raises(DataError, match="is damaged"):
        make(root, sources).run()
