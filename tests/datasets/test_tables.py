"""Tables of every data set that has one: each wrong header and row is named with file, line and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from tests.celegans import module
from visionlab.data.channels import Channels
from visionlab.datasets import depth_mask, lineage, protein_atlas
from visionlab.errors import DataError
from visionlab.files import Scan

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _depth_mask(root: Path) -> Scan:
    return depth_mask.scan(root, layout="table", table="list.csv", per_background=1, group_pattern=None)


def _protein_atlas(root: Path) -> Scan:
    return protein_atlas.scan(root, Channels(["red"]), protein_atlas.NAMES, table="list.csv", images=".")


def _slices(root: Path) -> Scan:
    return module(root, layout="table", table="list.csv").scan(root)


def _lineage(root: Path) -> Scan:
    return lineage.scan(root, "list.csv", ["A", "B"])


@dataclass(frozen=True)
class Case:
    """How a data set reads ``list.csv``: its header and a row that is good."""

    scan: Callable[[Path], Scan]
    header: str
    row: str


CASES = {
    "depth_mask": Case(_depth_mask, "image,mask,group", "a.png,m.png,g"),
    "protein_atlas": Case(_protein_atlas, "Id,Target", "a,16 0"),
    "slices": Case(_slices, "image,label,time", "a.png,m.png,3"),
    "lineage": Case(_lineage, "image,sequence,time,A,B", "a.png,01,0,1,2.5"),
}
FILES = [name for name in CASES if name != "protein_atlas"]
every = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    for place, name in enumerate(("root/a.png", "root/b.png", "root/m.png", "root/a_red.png", "outside.png")):
        (tmp_path / name).write_bytes(imagecodecs.png_encode(GRAY + np.uint8(place)))
    (folder / "a.csv").touch()
    return folder


def write(root: Path, *lines: str) -> Path:
    (root / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@every
def test_a_table_as_spreadsheets_write_it(root: Path, name: str) -> None:
    case = CASES[name]
    cells = ",".join(f'" {cell} "' for cell in case.row.split(","))
    (root / "list.csv").write_bytes(f"\ufeffnote, {case.header}\r\nx,{cells}\r\n,,\r\n".encode())
    found = case.scan(root)
    assert not found.problems
    assert len(found.table) == 1
    assert found.table["path"].item() in ("a.png", "a_red.png")


@every
def test_a_header_that_cannot_be_used(root: Path, name: str) -> None:
    case = CASES[name]
    column = case.header.split(",")[1 if name in ("depth_mask", "slices", "protein_atlas") else -1]
    cases: list[tuple[Any, str]] = [
        (case.header.replace(",", ";") + "\n", "expected cells divided by commas, found ';'; save it as CSV"),
        (case.header.replace(",", "\t") + "\n", "expected cells divided by commas, found '.t'"),
        (
            case.header.replace(column, f"{column}s") + "\n",
            f"expected a header with the column.* {column}.*found .*Did you mean '{column}s'",
        ),
        (f"{case.header},{column}\n", f"the column '{column}' stands twice in the header .*keep one"),
        ("", "expected a header with the column.*, found nothing"),
        (f"{case.header}\n", "expected a row for each sample below the header, found none"),
        (f'{case.header}\n"a,b\n', "not a comma-separated table"),
        (b"\xff\xfe,b\n", "expected a table in UTF-8"),
    ]
    for content, message in cases:
        (root / "list.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(DataError, match=rf"list\.csv: {message}"):
            case.scan(root)
    (root / "list.csv").rename(root / "lists.csv")
    with pytest.raises(DataError, match=r"data\.table: .*list\.csv cannot be read .*Did you mean 'lists\.csv'"):
        case.scan(root)


@every
def test_a_row_of_another_length_or_again_is_named_by_its_line(root: Path, name: str) -> None:
    case = CASES[name]
    n = case.header.count(",") + 1
    write(root, case.header, case.row, "", f"{case.row},x", case.row.rpartition(",")[0], case.row)
    found = case.scan(root)
    assert len(found.table) == 1
    assert [problem.path for problem in found.problems] == [f"list.csv line {line}" for line in (4, 5, 6)]
    longer, shorter, again = (str(problem) for problem in found.problems)
    assert f"{n + 1} cells where the header has {n}; mend the row" in longer
    assert f"{n - 1} cells where the header has {n}; mend the row" in shorter
    assert "stands in list.csv line 2 as well; keep one" in again
    with pytest.raises(DataError, match=r"3 problems, beside 1 samples .*\n  list\.csv line 4: .*\n.*\n.*\n.*prepare"):
        found.usable(root)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "the cell 'image' is empty; fill it or remove the row"),
        ("none.png", "the image 'none.png' does not exist; mend the path; it begins at the table's folder or at"),
        ("no/a.png", "the image 'no/a.png' does not exist"),
        ("x" * 300, "does not exist"),
        ("../outside.png", "the image '../outside.png' lies outside of data.root; set data.root"),
        ("{above}/outside.png", "lies outside of data.root"),
        ("../root/b.png", ""),
        ("..\\root\\b.png", ""),
    ],
)
def test_a_cell_that_leads_to_no_file_of_the_root(root: Path, name: str, cell: str, message: str) -> None:
    case = CASES[name]
    cell = cell.format(above=root.parent)
    write(root, case.header, case.row.replace("0,1", "1,1").replace(",3", ",4"), case.row.replace("a.png", cell, 1))
    found = case.scan(root)
    if message:
        (problem,) = found.problems
        assert problem.path == "list.csv line 3"
        assert message in str(problem)
    else:
        assert sorted(found.table["path"]) == ["a.png", "b.png"]


def test_cells_begin_at_the_tables_folder_or_the_root(root: Path) -> None:
    (root / "tables").mkdir()
    write(root, "image,mask,group", "a.png,m.png,g")
    (root / "list.csv").rename(root / "tables" / "list.csv")
    (root / "list.csv").symlink_to(root / "tables" / "list.csv")
    assert _depth_mask(root).table["path"].tolist() == ["a.png"]


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("depth_mask", "a.png,,g", "the cell 'mask' is empty"),
        ("depth_mask", "a.png,m.png,", "the cell 'group' is empty"),
        ("depth_mask", "a.csv,m.png,g", "the image 'a.csv' is of no type that is read"),
        ("protein_atlas", "a,28", "there is no label '28'; expected numbers from 0 to 27 divided by spaces"),
        ("protein_atlas", "a,0 abc", "there is no label 'abc'"),
        ("protein_atlas", "a,3 25 3", "the Target '3 25 3' names a label twice; keep one"),
        ("protein_atlas", ",2", "the cell 'Id' is empty"),
        ("slices", "a.png,m.png,1.5", "the cell 'time' holds '1.5'; expected a whole number from 0"),
        ("slices", "a.png,,1", "the cell 'label' is empty"),
        ("slices", "a.png,x.png,1", "the label 'x.png' does not exist"),
        ("lineage", "a.png,,0,1,2", "the cell 'sequence' is empty"),
        ("lineage", "a.png,01,-1,1,2", "the cell 'time' holds '-1'"),
        ("lineage", "a.png,01,0,-1,2", "A is '-1'; expected a number from 0 on"),
        ("lineage", "a.png,01,0,nan,2", "A is 'nan'; expected a number"),
        ("lineage", "a.png,01,0,,2", "A is ''; expected a number from 0 on (0 where there are none)"),
        ("lineage", "a.csv,01,0,1,2", "the image 'a.csv' is of no type that is read"),
    ],
)
def test_a_cell_that_cannot_be_used(root: Path, name: str, row: str, message: str) -> None:
    write(root, CASES[name].header, row)
    (problem,) = (CASES[name].scan(root)).problems
    assert (problem.path, problem.severity) == ("list.csv line 2", "error")
    assert message in str(problem)
    assert problem.advice


def test_columns_of_which_one_will_do(root: Path) -> None:
    with pytest.raises(DataError, match="column mask or depth, found image, group"):
        _depth_mask(write(root, "image,group", "a.png,g"))
    assert _slices(write(root, "image,mask", "a.png,m.png")).table["nuclei_path"].tolist() == ["m.png"]


def test_counts_of_planes_and_of_images_that_tell_nothing_of_each_other(root: Path) -> None:
    (root / "series.tif").write_bytes(b"planes are read later")
    table = _lineage(write(root, "image,A,B", "series.tif#5,3,0", "series.tif#6,2.5,0", "a.png,1,0")).table
    assert table["id"].tolist() == ["a", "series#5", "series#6"]
    assert table["path"].tolist() == ["a.png", "series.tif#5", "series.tif#6"]
    assert table["A"].tolist() == [1.0, 3.0, 2.5]
    assert table["group"].tolist() == table["id"].tolist()
    assert table["time"].tolist() == [lineage.UNKNOWN] * 3
