"""The check of masks, depth maps and backgrounds: what fits passes, all else is named with what to do."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from visionlab.datasets.depth_mask import scan
from visionlab.datasets.map_checks import check_maps
from visionlab.files import Problem
from visionlab.io import read_image

RNG = np.random.default_rng(0)
SIZE = (24, 32)
ROLES = ("images", "masks", "depth", "backgrounds")


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (*(shape or SIZE), 3), dtype=np.uint8)


def disc(*shape: int, radius: float = 0.3) -> np.ndarray:
    height, width = shape or SIZE
    rows, columns = np.mgrid[:height, :width]
    return ((np.hypot(rows / height - 0.5, columns / width - 0.5) < radius) * 255).astype(np.uint8)


def ramp(*shape: int) -> np.ndarray:
    height, width = shape or SIZE
    return np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(values))


def write(root: Path, count: int = 4, backgrounds: bool = False) -> Path:
    """Good triples: a picture, a disc of another radius in each, a ramp."""
    for number in range(count):
        png(root / f"images/s{number}.png", picture())
        png(root / f"masks/s{number}.png", disc(radius=0.2 + 0.05 * number))
        png(root / f"depth/s{number}.png", ramp())
        if backgrounds:
            png(root / f"backgrounds/s{number}.png", picture())
    return root


def check(
    root: Path, *, threshold: int | None = None, invalid: str | float = "auto", pattern: str | None = None
) -> list[Problem]:
    table = scan(root, layout="auto", table=None, per_background=1, group_pattern=pattern).usable(root)
    return check_maps(table, root, mask_threshold=threshold, invalid=invalid)


def short(problems: list[Problem]) -> list[tuple[str, str]]:
    assert all(problem.what and problem.advice for problem in problems)
    return [(problem.path, problem.severity) for problem in problems]


def test_good_files_have_no_problem(tmp_path: Path) -> None:
    assert check(write(tmp_path, backgrounds=True)) == []


def test_masks_alone_and_depth_alone(tmp_path: Path) -> None:
    write(tmp_path)
    table = scan(tmp_path, layout="auto", table=None, per_background=1, group_pattern=None).usable(tmp_path)
    for column in ("mask_path", "depth_path"):
        assert check_maps(table.drop(columns=column), tmp_path, mask_threshold=None, invalid="auto") == []


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, 7, backgrounds=True)
    (tmp_path / "masks/s0.png").write_bytes((tmp_path / "masks/s0.png").read_bytes()[:60])
    soft = disc(radius=0.21)
    soft[0, 0] = 77
    png(tmp_path / "masks/s1.png", soft)
    png(tmp_path / "depth/s2.png", np.full(SIZE, 9, np.uint16))
    png(tmp_path / "depth/s3.png", np.zeros(SIZE, np.uint16))
    (tmp_path / "depth/s4.png").write_text("no image")
    (tmp_path / "backgrounds/s5.png").write_bytes(b"")
    png(tmp_path / "depth/s6.png", picture())
    problems = check(tmp_path)
    found = {problem.path: problem.what for problem in problems}
    assert short(problems) == [(path, "error") for path in sorted(found)]
    expected = {
        "backgrounds/s5.png": "the file is empty",
        "depth/s2.png": "every known value of the depth map is 9",
        "depth/s3.png": "without a known value",
        "depth/s4.png": "found text",
        "depth/s6.png": "3 channels that differ",
        "masks/s0.png": "truncated",
        "masks/s1.png": "1 more (e.g. 77)",
    }
    assert list(found) == list(expected)
    for path, words in expected.items():
        assert words in found[path]
        assert str(tmp_path) not in found[path]


def test_options_reach_the_files(tmp_path: Path) -> None:
    write(tmp_path)
    soft = disc(radius=0.21)
    soft[0, 0] = 77
    png(tmp_path / "masks/s1.png", soft)
    depth = ramp()
    depth[depth > 1] = 5
    png(tmp_path / "depth/s2.png", depth)
    assert short(check(tmp_path)) == [("masks/s1.png", "error")]
    (cut,) = check(tmp_path, threshold=70)
    assert (cut.path, cut.severity) == ("masks/", "warning")
    assert cut.what == "1 of 4 masks hold grey values: those from 70 on are foreground"
    problems = check(tmp_path, threshold=70, invalid=1)
    assert ("depth/s2.png", "error") in short(problems)


def test_other_views_are_named_with_both_sizes(tmp_path: Path) -> None:
    write(tmp_path, backgrounds=True)
    png(tmp_path / "masks/s0.png", disc(32, 24, radius=0.33))
    png(tmp_path / "depth/s1.png", ramp(24, 24))
    png(tmp_path / "backgrounds/s2.png", picture(30, 32))
    png(tmp_path / "masks/s3.png", disc(12, 16))  # half of the size
    png(tmp_path / "depth/s3.png", ramp(48, 64))
    png(tmp_path / "backgrounds/s3.png", picture(36, 48))
    problems = check(tmp_path)
    assert [(problem.path, problem.what) for problem in problems] == [
        ("backgrounds/s2.png", "is 30 x 32 pixels, but its image images/s2.png 24 x 32"),
        ("depth/s1.png", "is 24 x 24 pixels, but its image images/s1.png 24 x 32"),
        ("masks/s0.png", "is 32 x 24 pixels, but its image images/s0.png 24 x 32"),
    ]


def test_files_smaller_than_the_window_of_ssim(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for name, values in (("images", picture(10, 40)), ("masks", disc(10, 40)), ("depth", ramp(10, 40))):
        png(tmp_path / name / "s1.png", values)
    png(tmp_path / "images/s2.png", picture(11, 22))
    png(tmp_path / "masks/s2.png", disc(11, 22))
    png(tmp_path / "depth/s2.png", ramp(11, 22))
    problems = check(tmp_path)
    assert [(problem.path, problem.severity, problem.what) for problem in problems] == [
        (f"{name}/s1.png", "error", "is 10 x 40 pixels, smaller than the window of SSIM (11 x 11)")
        for name in ("images", "masks")
    ]


def test_jpeg_masks_are_one_warning_a_folder(tmp_path: Path) -> None:
    for background in ("b1", "b2"):
        for number in range(3):
            name = f"{background}/f{number}/x.jpg"
            png(tmp_path / "fgbg" / name, picture())
            png(tmp_path / "dense" / name, ramp())
            (tmp_path / "fgbgmask" / name).parent.mkdir(parents=True)
            mask = disc(radius=0.2 + 0.03 * number + (0.1 if background == "b1" else 0))
            Pillow.fromarray(mask).save(tmp_path / "fgbgmask" / name, "JPEG", quality=60)
    (warning,) = check(tmp_path)
    assert (warning.path, warning.severity) == ("fgbgmask/", "warning")
    assert warning.what == "6 of 6 masks hold grey values: those from 128 on are foreground"


def test_empty_and_full_masks_are_warnings(tmp_path: Path) -> None:
    write(tmp_path)
    png(tmp_path / "masks/s0.png", np.zeros(SIZE, np.uint8))
    png(tmp_path / "masks/s1.png", np.zeros(SIZE, np.uint8))
    png(tmp_path / "masks/s2.png", np.full(SIZE, 255, np.uint8))
    problems = check(tmp_path)
    assert [(problem.path, problem.severity, problem.what.split(":")[0]) for problem in problems] == [
        ("masks/s0.png", "warning", "the mask is empty"),
        ("masks/s1.png", "warning", "the mask is empty"),
        ("masks/s2.png", "warning", "the mask is full"),
    ]


def test_a_mask_in_two_groups_is_one_warning(tmp_path: Path) -> None:
    write(tmp_path)
    for number in (1, 2):
        png(tmp_path / f"masks/s{number}.png", disc(radius=0.2))
    (warning,) = check(tmp_path)
    assert (warning.path, warning.severity) == ("masks/s1.png", "warning")
    assert warning.what == (
        "is the same mask as masks/s0.png, but of group 'bg1' where that is of 'bg0' (3 such masks)"
    )
    assert check(tmp_path, pattern="^(s)") == []


def test_depth_of_8_and_16_bits_is_an_error_of_the_rarer(tmp_path: Path) -> None:
    write(tmp_path, 5)
    for number in (1, 3):
        png(tmp_path / f"depth/s{number}.png", (ramp() % 256).astype(np.uint8))
    np.save(tmp_path / "depth/s4.npy", ramp() / 7)
    (tmp_path / "depth/s4.png").unlink()
    problems = check(tmp_path)
    assert [(problem.path, problem.what.partition(":")[0], problem.severity) for problem in problems] == [
        ("depth/s1.png", "holds uint8 values, as 2 depth maps do where 2 hold uint16", "error"),
        ("depth/s4.npy", "holds float32 values, as 1 depth maps do where 2 hold uint16", "error"),
    ]


def test_an_unreadable_image_is_left_to_the_check_of_images(tmp_path: Path) -> None:
    (write(tmp_path) / "images/s1.png").write_bytes(b"x")
    assert check(tmp_path) == []


def test_each_background_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 6)
    png(tmp_path / "bg.png", picture())
    seen: list[str] = []

    def counted(path: Path) -> np.ndarray:
        seen.append(path.name)
        return read_image(path)

    monkeypatch.setattr("visionlab.datasets.map_checks.read_image", counted)
    table = scan(tmp_path, layout="auto", table=None, per_background=1, group_pattern=None).usable(tmp_path)
    table = table.assign(background_path="bg.png")
    assert check_maps(table, tmp_path, mask_threshold=None, invalid="auto") == []
    assert seen == ["bg.png"]
