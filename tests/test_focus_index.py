"""The index of task ``focus``: names parsed from the right, every file accounted for."""

from __future__ import annotations

import logging
import os
import tracemalloc
from pathlib import Path

import pytest

from visionlab.datasets.focus import FocusDataModule, index, parse_name, scan
from visionlab.errors import DataError
from visionlab.files import Listing


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("a_1_2", ("a", 1.0, 2.0)),
        ("well_A3_site_2_1250.50_-4.25", ("well_A3_site_2", 1250.5, -4.25)),
        ("x_1_2_3", ("x_1", 2.0, 3.0)),
        ("1_2_3", ("1", 2.0, 3.0)),
        ("v1.2_beta_+1._-.5", ("v1.2_beta", 1.0, -0.5)),
        ("a_1e3_-2.5E-1", ("a", 1000.0, -0.25)),
        ("a__-0_0", ("a_", 0.0, 0.0)),
        ("__1_2", ("_", 1.0, 2.0)),
        ("näme mit Leer_1_2", ("näme mit Leer", 1.0, 2.0)),
        ("bbbc050-emb02-t151_24.50_-10.50", ("bbbc050-emb02-t151", 24.5, -10.5)),
    ],
)
def test_names_are_parsed_from_the_right(stem: str, expected: tuple[str, float, float]) -> None:
    assert parse_name(stem) == expected


@pytest.mark.parametrize(
    "stem",
    [
        "a",
        "a_1",
        "a_1_",
        "a_1_b",
        "_1_2",
        "1_2",
        "a_1,5_2",
        "a_nan_1",
        "a_1_inf",
        "a_1e999_2",
        "a_1_2 ",
        "a_1_٢",
        "a_--1_2",
    ],
)
def test_other_names_are_refused(stem: str) -> None:
    with pytest.raises(DataError, match="<unique_image_name>_<absolute_focus_height>_<relative_focus_distance>"):
        parse_name(stem)


def test_index(tmp_path: Path) -> None:
    touch(tmp_path, "b_1.5_-2.png", "sub/deep/a_2_0.25.TIF", "sub/a_1_1.tiff", "a_10_3.ome.tif", "A_1_1.Png")
    touch(tmp_path, ".hidden_1_2.png", ".cache/x_1_2.png", "notes.txt", "manifest.csv", "._a_1_1.png")
    table = index(tmp_path)
    assert table.columns.tolist() == ["id", "group", "path", "height", "distance"]
    assert table.to_numpy().tolist() == [
        ["A_1_1", "A", "A_1_1.Png", 1.0, 1.0],
        ["a_10_3", "a", "a_10_3.ome.tif", 10.0, 3.0],
        ["b_1.5_-2", "b", "b_1.5_-2.png", 1.5, -2.0],
        ["sub/a_1_1", "a", "sub/a_1_1.tiff", 1.0, 1.0],
        ["sub/deep/a_2_0.25", "a", "sub/deep/a_2_0.25.TIF", 2.0, 0.25],
    ]
    assert table.index.tolist() == [0, 1, 2, 3, 4]
    assert table["distance"].dtype == float


def test_groups_are_exact_names_not_beginnings(tmp_path: Path) -> None:
    touch(tmp_path, "cell_1_1_0.png", "cell_10_1_0.png", "cell_1_0.png", "cell_1_10_0.png")
    groups = index(tmp_path).set_index("path")["group"].to_dict()
    assert groups == {
        "cell_1_1_0.png": "cell_1",
        "cell_10_1_0.png": "cell_10",
        "cell_1_0.png": "cell",
        "cell_1_10_0.png": "cell_1",
    }


def test_names_that_do_not_match_are_counted_and_shown(tmp_path: Path) -> None:
    touch(tmp_path, "good_1_2.png", *(f"bad{i:02d}.png" for i in range(12)))
    with pytest.raises(DataError) as caught:
        index(tmp_path)
    message = str(caught.value)
    assert "12 of 13 image files" in message
    assert "<unique_image_name>_<absolute_focus_height>_<relative_focus_distance>" in message
    assert "bad00.png" in message
    assert "bad09.png" in message
    assert "bad10.png" not in message
    assert "and 2 more" in message
    table, problems = scan(tmp_path)
    assert table["id"].tolist() == ["good_1_2"]
    assert [problem.path for problem in problems] == [f"bad{i:02d}.png" for i in range(12)]


def test_only_bad_names_give_an_empty_table(tmp_path: Path) -> None:
    table, problems = scan(touch(tmp_path, "bad.png"))
    assert len(table) == 0
    assert table["distance"].dtype == float
    assert len(problems) == 1


def test_same_name_with_two_suffixes_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a_1_2.png", "a_1_2.tif", "b_1_2.png")
    with pytest.raises(DataError, match=r"a_1_2\.tif: has the same name as a_1_2\.png"):
        index(tmp_path)


def test_names_in_another_encoding_are_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9_1_2.png")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    touch(tmp_path, "a_1_2.png")
    with pytest.raises(DataError, match="not valid UTF-8") as caught:
        index(tmp_path)
    str(caught.value).encode()


def test_other_image_types_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a_1_2.png", "b_1_2.jpg", "sub/c_1_2.JPG", "d_1_2.bmp")
    with caplog.at_level(logging.WARNING, logger="visionlab"):
        assert len(index(tmp_path)) == 1
    assert ".bmp 1, .jpg 2, for instance 'b_1_2.jpg'" in caplog.text


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected \.png, \.tif, \.tiff images named .*found none"):
        index(tmp_path)
    touch(tmp_path, "a_1_2.jpg", "b_1_2.jpg")
    with pytest.raises(DataError, match=r"found images of other types \(\.jpg 2"):
        index(tmp_path)


def test_missing_folder_suggests_the_nearest(tmp_path: Path) -> None:
    touch(tmp_path, "images/a_1_2.png", "other/b_1_2.png")
    with pytest.raises(DataError, match=r"expected a folder with .*no such folder.*Did you mean 'images'\?"):
        index(tmp_path / "image")
    with pytest.raises(DataError, match=r"'imagse' is not in .*Did you mean 'images'\?"):
        index(tmp_path / "imagse" / "deeper")


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a_1_2.png")
    with pytest.raises(DataError, match="found a file"):
        index(tmp_path / "a_1_2.png")


def test_links_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "root/z/a_1_2.png", "elsewhere/b_1_2.png")
    root = tmp_path / "root"
    (root / "loop").symlink_to(root)
    (root / "again").symlink_to(root / "z")
    (root / "far").symlink_to(tmp_path / "elsewhere")
    (root / "c_1_2.png").symlink_to(root / "z" / "a_1_2.png")
    (root / "broken_1_2.png").symlink_to(root / "none")
    assert index(root)["path"].tolist() == ["broken_1_2.png", "c_1_2.png", "far/b_1_2.png", "z/a_1_2.png"]


def test_memory_grows_with_the_number_of_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listing is faked, since making the files would take longer than indexing them."""
    peaks = []
    for count in (2_000, 20_000):
        names = [f"f{i // 1000}/field_{i // 20:05d}_{i % 20}.50_{i % 20 - 10}.25.png" for i in range(count)]
        monkeypatch.setattr("visionlab.datasets.focus.list_files", lambda *_, names=names: Listing(names))
        tracemalloc.start()
        table = index(tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(table) == count
        assert table["group"].nunique() == count // 20
    assert peaks[1] < 13 * peaks[0]
    assert peaks[1] < 20_000 * 1_000


def test_the_data_module_uses_this_index(tmp_path: Path) -> None:
    touch(tmp_path, "a_1_2.png")
    assert FocusDataModule.task == "focus"
    assert FocusDataModule.targets == {"distance": ("distance",)}
    assert FocusDataModule.index(None, tmp_path).equals(index(tmp_path))  # type: ignore[arg-type]


@pytest.mark.shared_data
def test_index_of_real_images() -> None:
    root = Path(__file__).parents[2] / "shared" / "data" / "focus"
    if not root.is_dir():
        pytest.skip(f"the real images are not here ({root})")
    table = index(root)
    assert len(table) == 303
    assert table["group"].nunique() == 13
    row = table[table["id"] == "images/pyotf-bil113_2.40_-0.30"].iloc[0]
    assert (row["group"], row["height"], row["distance"]) == ("pyotf-bil113", 2.4, -0.3)
