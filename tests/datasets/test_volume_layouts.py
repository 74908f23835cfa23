"""The index of labelled volumes: four layouts, one row a labelled slice, and what is wrong with files named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.celegans import SHAPE, challenge, image, jpeg, labels, mat, module, png, tiff
from visionlab.datasets.celegans import CElegansMembraneDataModule
from visionlab.errors import ConfigError, DataError

PLANE = SHAPE[1:]


def index(root: Path, **options: Any) -> pd.DataFrame:
    return module(root, **options).index(root)


def rows(root: Path, *columns: str, **options: Any) -> list[list[Any]]:
    return index(root, **options)[list(columns)].to_numpy().tolist()


def problems(root: Path, **options: Any) -> dict[str, str]:
    return {problem.path: str(problem) for problem in module(root, **options).scan(root).problems}


def slices(root: Path, *numbers: tuple[int, int], labelled: bool = True) -> Path:
    """Write prepared slices, of time and z each."""
    for t, z in numbers:
        png(root / "features" / f"F{t}_{z}.png", image(PLANE, 10 * t + z))
        if labelled:
            png(root / "segmentation_maps" / f"L{t}_{z}.png", labels(PLANE))
    return root


def listed(root: Path, *lines: str, name: str = "list.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n")
    return root


# Cell Tracking Challenge --------------------------------------------------------------------------------------------


def test_challenge_has_a_row_for_each_slice_of_labelled_volumes(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 3, "02": 1})
    tiff(tmp_path / "01/t003.tif", image())
    table = index(tmp_path, blocks=2)
    assert len(table) == 16
    assert table.iloc[5].to_dict() == {
        "id": "01_t001_z001",
        "group": "01/t000-t001",
        "path": "01/t001.tif#1",
        "nuclei_path": "01_ST/SEG/man_seg001.tif#1",
        "sequence": "01",
        "time": 1,
        "z": 1,
        "frame": "01_t001",
    }
    assert table["group"].unique().tolist() == ["01/t000-t001", "01/t002", "02/t000"]


def test_neighbours_are_named_and_repeated_at_the_ends(tmp_path: Path) -> None:
    table = index(challenge(tmp_path, {"01": 1}), neighbours=2)
    columns = ["path-2", "path-1", "path", "path+1", "path+2"]
    numbers = table[columns].map(lambda path: int(path.rpartition("#")[2])).to_numpy().tolist()
    assert numbers == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]


def test_flat_challenge_with_any_number_of_digits(tmp_path: Path) -> None:
    tiff(tmp_path / "7/t0012.tif", image(PLANE))
    tiff(tmp_path / "7_ST/SEG/man_seg12.tif", labels(PLANE))
    columns = ("id", "path", "nuclei_path", "z")
    assert rows(tmp_path, *columns) == [["7_t0012", "7/t0012.tif", "7_ST/SEG/man_seg12.tif", -1]]


def test_sequences_in_the_only_folder_that_has_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    challenge(tmp_path / "Fluo", {"01": 1}, gold=True)
    (tmp_path / "Fluo/02_GT/SEG").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    monkeypatch.setattr(Path, "rglob", None)  # further layouts are not looked for
    assert rows(tmp_path, "id", "sequence", "path", "nuclei_path")[1] == [
        "01_t000_z001", "01", "Fluo/01/t000.tif#1", "Fluo/01_ST/SEG/man_seg000.tif#1"
    ]  # fmt: skip
    (found,) = module(tmp_path).scan(tmp_path).problems
    assert (found.path, found.severity) == ("Fluo/02_GT", "warning")
    assert "there is no Fluo/02/t000.tif" in found.what
    with pytest.raises(DataError, match=rf"is a single sequence.* set data.root to the folder .* {tmp_path}/Fluo$"):
        index(tmp_path / "Fluo/01")
    challenge(tmp_path / "Other", {"01": 1})
    with pytest.raises(DataError, match=r"sequences lie in Fluo/, Other/; set data\.root to one"):
        index(tmp_path)


def test_silver_truth_comes_before_gold_and_whole_before_slices(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2}, gold=True)
    tiff(tmp_path / "01_GT/SEG/man_seg_001_002.tif", labels(PLANE))
    assert rows(tmp_path, "id", truth="gt") == [["01_t000_z001"], ["01_t001_z001"], ["01_t001_z002"]]
    assert len(index(tmp_path)) == len(index(tmp_path, truth="st")) == 8
    # Where there is no silver truth, the gold one serves.
    (tmp_path / "01_ST/SEG/man_seg001.tif").unlink()
    gold = [f"01_GT/SEG/man_seg_001_00{z}.tif" for z in (1, 2)]
    assert [path for time, path in rows(tmp_path, "time", "nuclei_path") if time == 1] == gold
    tiff(tmp_path / "01_GT/SEG/man_seg001.tif", labels())
    whole = [[f"01_GT/SEG/man_seg001.tif#{z}"] for z in range(4)]
    assert rows(tmp_path, "nuclei_path", truth="gt")[1:] == whole


def series(root: Path) -> None:
    tiff(root / "01/t001.tif", image(), imagej=True, metadata={"axes": "TYX"})


def cut_image(root: Path) -> None:
    path = root / "01/t001.tif"
    path.write_bytes(path.read_bytes()[:-300])


SEG = "01_ST/SEG/man_seg001.tif"
DAMAGES: list[tuple[Callable[[Path], Any], str, str]] = [
    (lambda r: tiff(r / SEG, labels((4, 12, 15))), SEG, "is 4 x 12 x 15 .z, y, x., but its image 01/t001.tif is 4 x"),
    (
        lambda r: tiff(r / SEG, labels((12, 4, 16))),
        SEG,
        "the axes look to be in another order",
    ),
    (lambda r: tiff(r / SEG, labels(PLANE)), SEG, "say of which slice it is"),
    (lambda r: jpeg(r / SEG, labels(PLANE)), SEG, "compressed as JPEG, which changes the numbers of objects"),
    (lambda r: (r / SEG).rename(r / "01_ST/SEG/man_seg_001_2.tif"), "01_ST/SEG/man_seg_001_2.tif", "of one slice"),
    (
        lambda r: tiff(r / "01_GT/SEG/man_seg_001_009.tif", labels(PLANE)),
        "01_GT/SEG/man_seg_001_009.tif",
        "is of slice 9, but its image 01/t001.tif has the slices 0 to 3",
    ),
    (
        lambda r: tiff(r / "01_GT/SEG/man_seg_005_001.tif", labels(PLANE)),
        "01_GT/SEG/man_seg_005_001.tif",
        "is of time point 5, of which there is no image",
    ),
    (cut_image, "01/t001.tif", "truncated"),
    (series, SEG, "its image 01/t001.tif is 4 x 12 x 16 .t, y, x."),
    (lambda r: tiff(r / "01/t1.tif", image()), "01/t1.tif", "has the same number as 01/t001.tif"),
]


@pytest.mark.parametrize(("damage", "path", "what"), DAMAGES)
def test_one_bad_file_is_named(tmp_path: Path, damage: Callable[[Path], Any], path: str, what: str) -> None:
    challenge(tmp_path, {"01": 2})
    damage(tmp_path)
    with pytest.raises(DataError, match=f"1 problem, beside . samples that can be used:\n  {path}: .*{what}"):
        index(tmp_path)


# Prepared slices ----------------------------------------------------------------------------------------------------


def test_prepared_slices_make_volumes(tmp_path: Path) -> None:
    slices(tmp_path, (7, 3), (7, 4), (190, 18), (190, 19))
    slices(tmp_path, (7, 5), labelled=False)
    assert rows(tmp_path, "id", "path", "nuclei_path", "time", "z", "frame", "path+1", neighbours=1) == [
        [f"01_t{t:03d}_z{z:03d}", f"features/F{t}_{z}.png", f"segmentation_maps/L{t}_{z}.png", t, z, f"01_t{t:03d}",
         f"features/F{t}_{above}.png"]
        for t, z, above in ((7, 3, 4), (7, 4, 5), (190, 18, 19), (190, 19, 19))
    ]  # fmt: skip


def test_the_list_chooses_the_slices(tmp_path: Path) -> None:
    slices(tmp_path, (0, 0), (0, 1), (1, 0), (1, 1))
    listed(tmp_path, "id", "0_1.png", "1_0.png", name="file_ids.csv")
    assert rows(tmp_path, "id") == [["01_t000_z001"], ["01_t001_z000"]]
    listed(tmp_path, ",0", "0,0_1.png", "1,2_0.png", "3,what", name="file_ids.csv")
    found = problems(tmp_path)
    assert "expected a name like 190_18.png, found '3,what'" in found["file_ids.csv line 4"]
    assert "lists 2_0, but there is no features/F2_0.png" in found["file_ids.csv"]


def test_prepared_slices_that_do_not_fit(tmp_path: Path) -> None:
    slices(tmp_path, (0, 0), (0, 1))
    png(tmp_path / "segmentation_maps/L9_0.png", labels(PLANE))
    png(tmp_path / "segmentation_maps/L0_1.png", labels((16, 12)))
    found = problems(tmp_path)
    assert sorted(found) == ["segmentation_maps/L0_1.png", "segmentation_maps/L9_0.png"]
    assert "is 16 x 12 (y, x)" in found["segmentation_maps/L0_1.png"]
    assert "is of time point 9, slice 0" in found["segmentation_maps/L9_0.png"]


# Tables -------------------------------------------------------------------------------------------------------------


def test_a_table_of_images_without_anything_else(tmp_path: Path) -> None:
    for name in ("b", "a"):
        png(tmp_path / "images" / f"{name}.png", image(PLANE, ord(name)))
        png(tmp_path / "masks" / f"{name}.png", labels(PLANE))
    listed(tmp_path, "image,mask", "images/b.png,masks/b.png", "images/a.png,masks/a.png", name="metadata_pil.csv")
    table = index(tmp_path)
    assert table.to_numpy().tolist() == [
        ["a", "a", "images/a.png", "masks/a.png", "", -1, -1, "a"],
        ["b", "b", "images/b.png", "masks/b.png", "", -1, -1, "b"],
    ]
    # A table elsewhere names files from the root.
    (tmp_path / "metadata_pil.csv").rename(tmp_path.parent / "elsewhere.csv")
    pd.testing.assert_frame_equal(index(tmp_path, table=str(tmp_path.parent / "elsewhere.csv")), table)


def test_tables_of_volumes_of_slices_and_of_series(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", image())
    tiff(tmp_path / "a_all.tif", labels())
    png(tmp_path / "a_2.png", labels(PLANE))
    for name, make in (("s.tif", image), ("l.tif", labels)):
        tiff(tmp_path / name, make((3, 12, 16)), imagej=True, metadata={"axes": "TYX"})
    for z in range(2):
        png(tmp_path / f"i{z}.png", image(PLANE, z))
    tables: dict[tuple[str, ...], list[list[Any]]] = {
        ("image,label,sequence,time", "a.tif,a_all.tif,E1,5"): [
            [f"a_z00{z}", "E1/t005", f"a.tif#{z}", f"a_all.tif#{z}", 5, z, "a"] for z in range(4)
        ],
        ("image,label,z", "a.tif,a_2.png,2"): [["a_z002", "a", "a.tif#2", "a_2.png", -1, 2, "a"]],
        ("image,label", "s.tif,l.tif"): [
            [f"s_t00{t}", f"s/t00{t}", f"s.tif#{t}", f"l.tif#{t}", t, -1, f"s_t00{t}"] for t in range(3)
        ],
        ("image,label,time,z", "i1.png,a_2.png,4,1", "i0.png,a_2.png,4,0"): [
            [f"i{z}", "01/t004", f"i{z}.png", "a_2.png", 4, z, "01_t004"] for z in range(2)
        ],
    }
    for lines, expected in tables.items():
        listed(tmp_path, *lines)
        columns = ("id", "group", "path", "nuclei_path", "time", "z", "frame")
        assert rows(tmp_path, *columns, table="list.csv") == expected


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        (
            ["image,label,time", "a.png,l.png,1", "b.png,l.png,1"],
            "list.csv line 3",
            "is of sequence 01, time 1",
        ),
        (["image,label", "a.png,l.png", "a.tif,l.png"], "list.csv line 3", "has the same name as a.png: a"),
        (["image,label,time,z,group", "a.png,l.png,1,0,A", "b.png,l.png,1,1,B"], "list.csv line 3", "is of group 'B'"),
        (["image,label,z,group", "v.tif,l.png,1,A", "v.tif,l.png,2,B"], "list.csv line 3", "is of group 'B', but list"),
        (["image,label,z", "v.tif,l.png,4"], "list.csv line 2", "is of slice 4, but its image v.tif has the slices 0"),
        (["image,label", "v.tif,l.png"], "list.csv line 2", "say of which slice it is"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, lines: list[str], where: str, what: str) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        png(tmp_path / name, image(PLANE, seed))
    tiff(tmp_path / "a.tif", image(PLANE, 7))
    tiff(tmp_path / "v.tif", image())
    png(tmp_path / "l.png", labels(PLANE))
    ((found, text),) = problems(listed(tmp_path, *lines), table="list.csv").items()
    assert found == where
    assert what in text


# MATLAB volumes -----------------------------------------------------------------------------------------------------


def test_matlab_volumes_are_matched_by_position(tmp_path: Path) -> None:
    membranes = labels((7, 10, 13))
    mat(tmp_path / "embryo_1.mat", embryo=image(), membSeg=membranes)
    mat(tmp_path / "images/b_t004.mat", embryo=image(seed=1))
    mat(tmp_path / "labels/b_t004.mat", membSeg=membranes)
    mat(tmp_path / "settings.mat", speed=np.ones((1, 3, 2)))
    table = module(tmp_path, CElegansMembraneDataModule).index(tmp_path)
    assert table["membrane_path"].tolist()[:4] == [f"embryo_1.mat#{z}" for z in (0, 2, 4, 6)]
    first = table[["id", "group", "path", "membrane_path", "sequence", "time", "z"]].iloc[[0, 4]].to_numpy().tolist()
    assert first == [
        ["1_z000", "1", "embryo_1.mat#0", "embryo_1.mat#0", "1", -1, 0],
        ["b_t004_z000", "b/t004", "images/b_t004.mat#0", "labels/b_t004.mat#0", "b", 4, 0],
    ]


def test_matlab_files_that_cannot_be_used(tmp_path: Path) -> None:
    mat(tmp_path / "a.mat", embryo=image(), membSeg=labels((4, 12, 30)))
    mat(tmp_path / "b.mat", embryo=image())
    mat(tmp_path / "c.mat", membSeg=labels())
    mat(tmp_path / "d.mat", embryo=image())
    mat(tmp_path / "d_membSeg.mat", membSeg=labels())
    path = mat(tmp_path / "f.mat", embryo=image(), membSeg=labels())
    path.write_bytes(path.read_bytes()[:-200])
    mat(tmp_path / "x/d.mat", membSeg=labels())
    expected = {"a.mat": "4 x 12 x 30", "b.mat": "membSeg", "c.mat": "embryo", "f.mat": "truncated", "x/d.mat": "same"}
    found = problems(tmp_path)
    assert sorted(found) == sorted(expected)
    assert all(word in found[path] for path, word in expected.items())


# Layouts ------------------------------------------------------------------------------------------------------------


def test_a_table_of_labels_and_of_masks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("image,label,mask\n")
    with pytest.raises(DataError, match=r"list\.csv: both 'label' and 'mask'"):
        index(tmp_path, table="list.csv")


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({}, DataError, r"found pictures; the layouts are\n  ctc: "),
        ({"layout": "ctc"}, DataError, "the layouts are"),
        ({"layout": "pairs"}, DataError, r"features: expected files FTIME_SLICE\.png"),
        ({"layout": "matlab"}, DataError, "in its 0 MATLAB files"),
        ({"layout": "table"}, ConfigError, r"data\.layout=table: expected data\.table=FILE\.csv"),
        ({"layout": "ctc", "table": "x.csv"}, ConfigError, r"data\.table: not used with data\.layout=ctc"),
        ({"layout": "pairs", "truth": "gt"}, ConfigError, r"data\.truth=gt: is of data\.layout=ctc"),
    ],
)
def test_what_is_no_layout(tmp_path: Path, options: dict[str, Any], error: type[Exception], what: str) -> None:
    png(tmp_path / "pictures/a.png", image(PLANE))
    with pytest.raises(error, match=what):
        index(tmp_path, **options)


def test_nothing_labelled(tmp_path: Path) -> None:
    tiff(tmp_path / "01/t000.tif", image())
    with pytest.raises(DataError, match=r"its 1 time points in 01_ST/SEG or 01_GT/SEG .*found none"):
        index(tmp_path)
