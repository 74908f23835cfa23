"""Composing cut-outs and backgrounds: geometry, blending, determinism, resuming, and what is refused."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
import yaml
from filelock import FileLock
from numpy.typing import NDArray

from tests.conftest import ROOT
from visionlab.config.compose import compose_run
from visionlab.console import LOG
from visionlab.datasets.compositor import Compositor, paste, read_background, read_cutout, resize
from visionlab.datasets.depth_mask import scan
from visionlab.errors import ConfigError, DataError, UsageError
from visionlab.io import read_image
from visionlab.training.registry import REGISTRY

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
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != ".composite.lock"
    }


# The set --------------------------------------------------------------------------------------------------------------


def test_layout(sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources).run()
    assert root == tmp_path / "set"
    stems = [f"bg_{b:03d}/{c:03d}/{k:03d}" for b in (1, 2, 3) for c in (1, 2) for k in (1, 2, 3, 4)]
    expected = {f"fgbg/{s}.jpg" for s in stems} | {f"fgbgmask/{s}.png" for s in stems}
    assert set(digest(root)) == expected | {f"bg/bg_{b:03d}.jpg" for b in (1, 2, 3)} | {"composite.json"}
    for stem in stems:
        image, mask = read_image(root / f"fgbg/{stem}.jpg"), read_image(root / f"fgbgmask/{stem}.png")
        assert image.shape == (40, 48, 3) and mask.shape == (40, 48, 1)
        assert set(np.unique(mask)) == {0, 255}
    about = json.loads((root / "composite.json").read_text())
    assert about["backgrounds"]["bg_003"]["path"] == "sub/c.png"
    assert about["cutouts"]["001"] == {**about["cutouts"]["001"], "path": "disk.png", "height": 33, "width": 25}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "sources"], "something was left beside the set"


def test_the_data_set_reads_it(sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources).run()
    table, problems = scan(root, layout="auto", table=None, per_background=1, group_pattern=None)
    assert problems == []
    assert len(table) == 24
    assert set(table["group"]) == {"bg_001", "bg_002", "bg_003"}
    assert set(table["foreground"]) == {"001", "002"}
    assert set(table["background_path"]) == {f"bg/bg_{b:03d}.jpg" for b in (1, 2, 3)}


def test_same_bytes_whatever_the_workers(sources: Path, tmp_path: Path) -> None:
    one = digest(make(tmp_path / "one", sources, workers=1).run())
    assert digest(make(tmp_path / "four", sources, workers=4).run()) == one
    other = digest(make(tmp_path / "other", sources, seed=1).run())
    images = [name for name in one if name.startswith("fgbg/")]
    assert sum(one[name] == other[name] for name in images) == 0, "the seed changes nothing"
    assert len({one[name] for name in images}) == len(images), "the same image twice"
    assert all(one[name] == other[name] for name in one if name.startswith("bg/"))


def test_other_files_do_not_move_what_is_pasted(sources: Path, tmp_path: Path) -> None:
    whole = digest(make(tmp_path / "whole", sources).run())
    (sources / "bg" / "b.png").unlink()
    fewer = digest(make(tmp_path / "fewer", sources).run())
    assert fewer["fgbg/bg_002/001/001.jpg"] == whole["fgbg/bg_003/001/001.jpg"]


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


def test_mask_at_the_original_size_is_where_alpha_reaches_the_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cutout = rng.integers(0, 256, (40, 48, 4))
    cutout[:, 20, 3], cutout[0, 0, 3], cutout[-1, -1, 3] = np.linspace(1, 255, 40), 1, 1
    background = rng.integers(0, 256, (40, 48, 3))
    write(tmp_path / "cut" / "a.png", cutout)
    write(tmp_path / "bg" / "b.png", background)
    for threshold in (200, 1, 255):
        root = make(
            tmp_path / f"set{threshold}",
            tmp_path,
            scale=[1, 1],
            per_pair=1,
            image_format="png",
            mask_threshold=threshold,
        ).run()
        plain, mirrored = (read_image(root / f"fgbgmask/bg_001/001/{k}.png")[..., 0] for k in ("001", "002"))
        assert (plain == 255 * (cutout[..., 3] >= threshold)).all()
        assert (mirrored == plain[:, ::-1]).all(), "the second image is not the mirror image"
    image = read_image(root / "fgbg/bg_001/001/001.png")
    clear, full = cutout[..., 3] == 0, cutout[..., 3] == 255
    assert clear.any() and full.any()
    assert (image[clear] == background[clear]).all() and (image[full] == cutout[full][:, :3]).all()
    assert (read_image(root / "bg/bg_001.png") == background).all()


def test_image_size_cuts_the_middle(tmp_path: Path) -> None:
    background = np.zeros((64, 128, 3))
    background[:, 32:96] = 255
    write(tmp_path / "bg" / "b.png", background)
    write(tmp_path / "cut" / "a.png", disk(20, 20, (0, 0, 255)))
    root = make(tmp_path / "set", tmp_path, image_size=32).run()
    assert (read_image(root / "bg/bg_001.jpg") == 255).all() and read_image(root / "bg/bg_001.jpg").shape == (32, 32, 3)
    assert read_image(root / "fgbg/bg_001/001/001.jpg").shape == (32, 32, 3)


# Blending -------------------------------------------------------------------------------------------------------------


def test_what_is_clear_stays_exactly() -> None:
    background = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    image, mask = paste(background, np.zeros((16, 16, 4), np.float32), 0, 0, 200)
    assert (image == background).all() and not mask.any()


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
    pasted = resize(read_cutout(tmp_path / "a.png", 200), *size)
    image, mask = paste(background, pasted, 2, 2, 200)
    assert np.abs(image.astype(int) - background).max() <= 1
    assert 0 < mask.mean() < 255


def test_cutouts_of_every_kind_of_file(tmp_path: Path) -> None:
    image = disk(20, 20, (255, 255, 255))
    image[..., 3] = 255 * (image[..., 3] > 127)
    write(tmp_path / "rgba8.png", image)
    write(tmp_path / "rgba16.png", image.astype(np.uint16) * 257, np.uint16)
    write(tmp_path / "gray8.png", np.ascontiguousarray(image[..., [0, 3]]))
    _write_palette(tmp_path / "palette.png", image)
    expected = read_cutout(tmp_path / "rgba8.png", 200)
    assert expected.shape == (18, 18, 4) and expected.dtype == np.float32
    for name in ("rgba16", "gray8", "palette"):
        np.testing.assert_allclose(read_cutout(tmp_path / f"{name}.png", 200), expected, atol=1e-6, err_msg=name)
    write(tmp_path / "deep.png", np.full((20, 20, 1), 30000), np.uint16)
    assert (read_background(tmp_path / "deep.png", None) == 117).all()


def _write_palette(path: Path, image: NDArray[np.uint8]) -> None:
    from PIL import Image

    indexed = Image.fromarray((image[..., 3] > 0).astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, 255, 255, 255])
    indexed.save(path, transparency=0)


# Resuming -------------------------------------------------------------------------------------------------------------


def test_goes_on_where_it_was(sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make(tmp_path / "set", sources).run()
    whole = digest(root)
    shutil.rmtree(root / "fgbg" / "bg_002")
    shutil.rmtree(root / "fgbgmask" / "bg_003" / "001")
    (root / "fgbg" / "bg_001" / "002" / "003.jpg").unlink()
    (root / "bg" / "bg_001.jpg").unlink()
    left = root / "fgbg" / "bg_003" / ".002.0123.part"
    left.mkdir()
    (left / "001.jpg").write_bytes(b"half")
    kept = root / "fgbg" / "bg_001" / "001" / "001.jpg"
    before = kept.stat().st_mtime_ns
    caplog.set_level("INFO", LOG.name)
    make(root, sources, workers=1).run()
    assert digest(root) == whole
    assert kept.stat().st_mtime_ns == before, "what was there is made again"
    assert "8 of them are there already" in caplog.text
    caplog.clear()
    make(root, sources).run()
    assert "24 of them are there already" in caplog.text and "about" not in caplog.text
    assert digest(root) == whole


def test_an_interrupted_run_is_whole_folders(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = digest(make(tmp_path / "whole", sources).run())
    write_pair, root = Compositor.write_pair, tmp_path / "set"

    def interrupted(
        self: Compositor, folder: Path, background: int, cutout: int, limit: int | None = None
    ) -> list[int]:
        if folder == root and background == 1:
            raise KeyboardInterrupt
        return write_pair(self, folder, background, cutout, limit)

    monkeypatch.setattr(Compositor, "write_pair", interrupted)
    caplog.set_level("INFO", LOG.name)
    with pytest.raises(KeyboardInterrupt):
        make(root, sources, workers=1).run()
    assert "the same command goes on" in caplog.text
    monkeypatch.undo()
    folders = list(root.glob("fgbg/*/*"))
    assert 0 < len(folders) < 6 and all(len(list(folder.iterdir())) == 4 for folder in folders)
    assert digest(make(root, sources).run()) == whole


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 5}, "seed is 0 there, 5 here"),
        ({"per_pair": 3}, "make.per_pair is 2 there, 3 here"),
        ({"scale": [0.3, 0.9]}, r"make.scale is \[0.3, 0.8\] there, \[0.3, 0.9\] here"),
        ({"flips": False}, "make.flips is true there, false here"),
        ({"image_format": "png"}, "make.image_format"),
        ({"image_size": 32}, "make.image_size is null there, 32 here"),
        ({"mask_threshold": 128}, "make.mask_threshold"),
    ],
)
def test_other_settings_are_refused(change: dict, named: str, sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources, per_pair=2).run()
    before = digest(root)
    with pytest.raises(UsageError, match=named):
        make(root, sources, **change).run()
    assert digest(root) == before


def test_other_sources_are_refused(sources: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "set", sources).run()
    write(sources / "cut" / "wide.png", disk(12, 30, (10, 90, 221)))
    with pytest.raises(UsageError, match=r"make.cutouts: wide.png has changed\."):
        make(root, sources).run()
    write(sources / "cut" / "wide.png", disk(12, 30, (10, 90, 220)))
    (sources / "bg" / "a.png").rename(sources / "bg" / "d.png")
    with pytest.raises(UsageError, match=r"make.backgrounds: a.png is missing; make.backgrounds: d.png is new"):
        make(root, sources).run()


def test_one_process_a_folder(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with FileLock(tmp_path / "set" / ".composite.lock"), pytest.raises(UsageError, match="another process"):
        make(tmp_path / "set", sources).run()
    make(tmp_path / "set", sources).run()


# What is refused ------------------------------------------------------------------------------------------------------


def _opaque(folder: Path) -> None:
    write(folder / "cut" / "x.png", np.full((20, 20, 4), 255))


def _clear(folder: Path) -> None:
    write(folder / "cut" / "x.png", np.zeros((20, 20, 4)))


def _faint(folder: Path) -> None:
    image = disk(20, 20, (9, 9, 9))
    image[..., 3] //= 2
    write(folder / "cut" / "x.png", image)


def _thin(folder: Path) -> None:
    image = np.zeros((200, 200, 4))
    image[np.arange(200), np.arange(200)] = 255
    write(folder / "cut" / "x.png", image)


def _floating(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "bg" / "x.tif", np.full((32, 32, 3), 7.5, np.float32), photometric="rgb")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: write(f / "cut" / "x.png", np.zeros((20, 20, 3))),
            "x.png: expected a cut-out with an alpha channel",
        ),
        (_opaque, "x.png: is opaque everywhere"),
        (_clear, "x.png: its alpha is at most 0 of 255"),
        (_faint, r"x.png: its alpha is at most 127 of 255.*mask_threshold=200"),
        (_thin, "x.png: 200 x 200 pixels; at the smallest size, 12 x 12 .* no pixel of it is foreground"),
        (lambda f: write(f / "bg" / "x.png", np.zeros((15, 40, 3))), "x.png: the background is 15 x 40 pixels; .* 16"),
        (lambda f: write(f / "bg" / "x.png", disk(20, 20, (9, 9, 9))), "x.png: 4 channels found, 3 wanted"),
        (lambda f: (f / "bg" / "x.png").write_bytes(b""), "x.png: the file is empty"),
        (lambda f: (f / "cut" / "x.png").write_bytes((f / "cut" / "disk.png").read_bytes()[:99]), "x.png: truncated"),
        (_floating, "x.tif: expected values from 0 to 1"),
    ],
    ids=["no alpha", "opaque", "clear", "faint", "thin", "small", "alpha", "empty", "truncated", "float"],
)
def test_bad_sources(spoil: Callable[[Path], None], message: str, sources: Path, tmp_path: Path) -> None:
    spoil(sources)
    with pytest.raises(DataError, match=message):
        make(tmp_path / "set", sources).run()
    assert not (tmp_path / "set").exists()


def test_all_bad_sources_are_named_at_once(sources: Path, tmp_path: Path) -> None:
    for number in range(5):
        write(sources / "cut" / f"x{number}.png", np.zeros((20, 20, 3)))
    with pytest.raises(DataError) as caught:
        make(tmp_path / "set", sources).run()
    assert "5 of 7 cutouts cannot be used" in str(caught.value)
    assert all(f"x{number}.png" in str(caught.value) for number in range(5))


def test_folders_without_images(sources: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no such folder"):
        make(tmp_path / "set", sources, backgrounds=str(sources / "backgrounds")).run()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"found none; check make\.cutouts"):
        make(tmp_path / "set", sources, cutouts=str(tmp_path / "empty")).run()
    (tmp_path / "empty" / "a.webp").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"\.webp 1"):
        make(tmp_path / "set", sources, cutouts=str(tmp_path / "empty")).run()


def test_folders_that_hold_something_else(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"expected a new or empty folder.*mine\.txt"):
        make(tmp_path / "full", sources).run()
    with pytest.raises(DataError, match="found a file"):
        make(tmp_path / "full" / "mine.txt", sources).run()
    with pytest.raises(UsageError, match="lies in"):
        make(sources / "bg" / "set", sources).run()
    root = make(tmp_path / "set", sources).run()
    (root / "composite.json").write_text('{"format": 1')
    with pytest.raises(DataError, match="is damaged"):
        make(root, sources).run()


@pytest.mark.parametrize(
    "setting",
    [
        "per_pair=0",
        "scale=[0.5]",
        "scale=[0,0.5]",
        "scale=[0.5,1.5]",
        "image_size=8",
        "mask_threshold=256",
        "workers=0",
    ],
)
def test_settings_out_of_range(setting: str) -> None:
    key = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"make\.{key}: expected .*, found "):
        compose_run(
            ["make=composite", "make.backgrounds=b", "make.cutouts=c", f"make.{setting}"], REGISTRY, root="prepare"
        )


def test_the_least_size_is_not_above_the_largest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make\.scale=\[0\.8, 0\.3\]: expected \[least, largest\]"):
        make(tmp_path / "set", tmp_path, scale=[0.8, 0.3])


def test_a_disk_too_small(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionlab.datasets.compositor.shutil.disk_usage", lambda path: SimpleNamespace(free=100_000))
    with pytest.raises(DataError, match=r"about 0\.3 MB are needed for 24 images, 0\.1 MB are free"):
        make(tmp_path / "set", sources).run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sources"]


def test_a_disk_that_fills_up(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, write_bytes = tmp_path / "set", Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.is_relative_to(root) and "bg_002" in str(self):
            raise OSError(28, "No space left on device")
        return write_bytes(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"No space left on device.*the same command goes on"):
        make(root, sources).run()
    monkeypatch.undo()
    assert not list(root.glob("*/*/.*")), "half a folder was left"
    assert digest(make(root, sources).run()) == digest(make(tmp_path / "whole", sources).run())


def test_it_says_what_it_will_do(sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", LOG.name)
    make(tmp_path / "set", sources).run()
    text = caplog.text
    assert "3 backgrounds x 2 cut-outs and their mirror images x 2 placements = 24 images" in text
    assert "about 0.3 MB on disk" in text and "with 2 threads" in text
    assert "1 of 2 cut-outs have too few pixels for make.scale and are enlarged, up to 1.3 times" in text
    last = caplog.records[-1].getMessage()
    assert "no depth" in last and "~heads.depth" in last and str(tmp_path / "set" / "dense") in last


def test_the_configuration_file_has_every_key() -> None:
    conf = yaml.safe_load((ROOT / "conf" / "make" / "composite.yaml").read_text())
    assert conf.pop("_target_") == "visionlab.datasets.compositor.Compositor"
    arguments = inspect.signature(Compositor).parameters.values()
    assert set(conf) == {a.name for a in arguments if a.kind is a.KEYWORD_ONLY}
    assert [key for key, value in conf.items() if value == "???"] == ["backgrounds", "cutouts"]
    source = ast.parse(Path(inspect.getfile(Compositor)).read_text())
    assert all(f"{key}: " in ast.unparse(source) for key in conf)
