"""The check of every file: facts that are right, and a problem for everything that is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from visionlab.data.checks import check_files, facts
from visionlab.datasets.focus import scan
from visionlab.files import Problem

RNG = np.random.default_rng(0)


def image(dtype: type = np.uint16, shape: tuple[int, ...] = (9, 7)) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def png(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(pixels))
    return pixels


def found(root: Path) -> dict[str, list[Problem]]:
    table, problems = scan(root)
    report = check_files(table, root, known=problems)
    return {
        path: [problem for problem in report.problems if problem.path == path]
        for path in sorted({problem.path for problem in report.problems})
    }


def test_facts() -> None:
    pixels = image(shape=(9, 7, 3))
    result = facts(pixels)
    assert (result["min"], result["max"]) == (pixels.min(), pixels.max())
    assert result["mean"] == pytest.approx(pixels.astype(float).mean(), rel=1e-12)
    assert result["std"] == pytest.approx(pixels.astype(float).std(), rel=1e-12)
    expected = hashlib.blake2b(b"(9, 7, 3)uint16" + pixels.tobytes(), digest_size=16).hexdigest()
    assert result["hash"] == expected


def test_hash_depends_on_shape_type_and_content_not_on_memory() -> None:
    pixels = image(np.uint8, (4, 6, 1))
    base = facts(pixels)["hash"]
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    assert facts(pixels.reshape(6, 4, 1))["hash"] != base
    assert facts(pixels.astype(np.uint16))["hash"] != base
    assert facts(changed)["hash"] != base
    assert facts(np.asfortranarray(pixels))["hash"] == base


def test_good_files_give_their_facts_and_no_problem(tmp_path: Path) -> None:
    first = png(tmp_path / "a_1_0.png", image())
    second = png(tmp_path / "sub" / "b_1_0.png", image(np.uint8, (5, 4, 3)))
    table, _ = scan(tmp_path)
    report = check_files(table, tmp_path)
    assert report.problems == []
    assert report.table[["id", "group", "path"]].equals(table[["id", "group", "path"]])
    assert report.table[["height", "width", "channels", "dtype"]].to_numpy().tolist() == [
        [9, 7, 1, "uint16"],
        [5, 4, 3, "uint8"],
    ]
    assert report.table["mean"].tolist() == pytest.approx([first.mean(), second.mean()])


def test_every_bad_file_is_named_with_what_and_advice(tmp_path: Path) -> None:
    png(tmp_path / "ok_1_0.png", image())
    whole = imagecodecs.png_encode(image())
    (tmp_path / "cut_1_0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty_1_0.png").touch()
    (tmp_path / "text_1_0.png").write_text("hello")
    (tmp_path / "noname.png").write_bytes(whole)
    (tmp_path / "gone_1_0.png").symlink_to(tmp_path / "nowhere.png")
    tifffile.imwrite(tmp_path / "nan_1_0.tif", np.full((3, 3), np.nan, np.float32))
    tifffile.imwrite(tmp_path / "pages_1_0.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    expected = {
        "cut_1_0.png": "truncated",
        "empty_1_0.png": "empty",
        "gone_1_0.png": "No such file",
        "nan_1_0.tif": "9 values are NaN",
        "noname.png": "does not match",
        "pages_1_0.tif": "3 pages",
        "text_1_0.png": "found text",
    }
    problems = found(tmp_path)
    assert list(problems) == list(expected)
    for path, words in expected.items():
        (problem,) = problems[path]
        assert words in problem.what
        assert problem.advice
        assert problem.severity == "error"
        assert str(tmp_path) not in problem.what


def test_constant_images_are_a_warning_and_no_leak(tmp_path: Path) -> None:
    for name in ("a_1_0.png", "b_1_0.png"):
        png(tmp_path / name, np.full((4, 4), 7, np.uint8))
    problems = found(tmp_path)
    assert [(path, [(p.what, p.severity) for p in of]) for path, of in problems.items()] == [
        ("a_1_0.png", [("all values are 7", "warning")]),
        ("b_1_0.png", [("all values are 7", "warning")]),
    ]


def test_copies_in_two_groups_are_a_leak_and_in_one_a_warning(tmp_path: Path) -> None:
    pixels = png(tmp_path / "a_1_0.png", image())
    tifffile.imwrite(tmp_path / "a_2_1.tif", pixels, compression="zlib")
    png(tmp_path / "b_1_0.png", pixels)
    png(tmp_path / "c_1_0.png", image())
    problems = found(tmp_path)
    assert list(problems) == ["a_2_1.tif", "b_1_0.png"]
    assert problems["a_2_1.tif"][0].severity == "warning"
    assert "same pixels as a_1_0.png" in problems["a_2_1.tif"][0].what
    assert problems["b_1_0.png"][0].severity == "error"
    assert "same pixels as a_1_0.png, but is of group 'b'" in problems["b_1_0.png"][0].what


def test_converted_types_are_stated_once(tmp_path: Path) -> None:
    for i in range(3):
        tifffile.imwrite(tmp_path / f"a_{i}_0.tif", image(np.int16))
    table, _ = scan(tmp_path)
    report = check_files(table, tmp_path)
    assert report.errors == []
    (warning,) = [problem for problem in report.problems if problem.severity == "warning"]
    assert "stores int16, read as uint16 without loss (3 such files)" in warning.what


def test_no_readable_file(tmp_path: Path) -> None:
    (tmp_path / "a_1_0.png").touch()
    table, _ = scan(tmp_path)
    report = check_files(table, tmp_path)
    assert len(report.table) == 0
    assert len(report.errors) == 1


def test_more_files_than_wait_at_once_keep_their_order(tmp_path: Path) -> None:
    tops = []
    for i in range(40):
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
        pixels[0, 0] = 100 + i
        png(tmp_path / f"a{i:02d}_1_0.png", pixels)
        tops.append(100 + i)
    table, _ = scan(tmp_path)
    report = check_files(table, tmp_path)
    assert report.table["max"].tolist() == tops
