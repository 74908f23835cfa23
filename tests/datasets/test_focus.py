"""The index of task ``focus``: names parsed from the right, every file accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from visionlab.datasets.focus import index, parse_name
from visionlab.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("well_A3_site_2_1250.50_-4.25", ("well_A3_site_2", 1250.5, -4.25)),
        ("x_1_2_3", ("x_1", 2.0, 3.0)),
        ("1_2_3", ("1", 2.0, 3.0)),
        ("v1.2_beta_+1._-.5", ("v1.2_beta", 1.0, -0.5)),
        ("a_1e3_-2.5E-1", ("a", 1000.0, -0.25)),
        ("a__-0_0", ("a_", 0.0, 0.0)),
        ("näme mit Leer_1_2", ("näme mit Leer", 1.0, 2.0)),
    ],
)
def test_names_are_parsed_from_the_right(stem: str, expected: tuple[str, float, float]) -> None:
    assert parse_name(stem) == expected


@pytest.mark.parametrize("stem", ["a", "a_1_", "_1_2", "1_2", "a_1,5_2", "a_nan_1", "a_1e999_2", "a_1_2 ", "a_1_٢"])
def test_other_names_are_refused(stem: str) -> None:
    with pytest.raises(DataError, match="<unique_image_name>_<absolute_focus_height>_<relative_focus_distance>"):
        parse_name(stem)


def test_index(tmp_path: Path) -> None:
    """Groups are exact names, not beginnings of them; hidden files and other types are left alone."""
    touch(tmp_path, "b_1.5_-2.png", "sub/deep/a_2_0.25.TIF", "sub/a_1_1.tiff", "a_1_10_3.ome.tif", "A_1_1.Png")
    touch(tmp_path, ".hidden_1_2.png", ".cache/x_1_2.png", "notes.txt", "manifest.csv", "._a_1_1.png")
    table = index(tmp_path)
    assert table.columns.tolist() == ["id", "group", "path", "height", "distance"]
    assert table.to_numpy().tolist() == [
        ["A_1_1", "A", "A_1_1.Png", 1.0, 1.0],
        ["a_1_10_3", "a_1", "a_1_10_3.ome.tif", 10.0, 3.0],
        ["b_1.5_-2", "b", "b_1.5_-2.png", 1.5, -2.0],
        ["sub/a_1_1", "a", "sub/a_1_1.tiff", 1.0, 1.0],
        ["sub/deep/a_2_0.25", "a", "sub/deep/a_2_0.25.TIF", 2.0, 0.25],
    ]
    assert table["distance"].dtype == float


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "root/z/a_1_2.png", "elsewhere/b_1_2.png")
    root = tmp_path / "root"
    (root / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "z")
    (root / "far").symlink_to(tmp_path / "elsewhere")
    (root / "broken_1_2.png").symlink_to(root / "none")
    assert index(root)["path"].tolist() == ["broken_1_2.png", "far/b_1_2.png", "z/a_1_2.png"]
