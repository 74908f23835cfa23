"""The index of embryos: four layouts, one row a labelled slice, and what is wrong with files named."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.celegans import SHAPE, challenge, image, jpeg, labels, mat, module, png, tiff
from visionlab.datasets.celegans import CElegansMembraneDataModule
from visionlab.datasets.celegans_layouts import Layout, Sources, scan
from visionlab.errors import ConfigError, DataError

Warnings = pytest.LogCaptureFixture


def index(root: Path, **options: Any) -> pd.DataFrame:
    return module(root, **options).index(root)


def problems(root: Path, **options: Any) -> list[tuple[str, str]]:
    found = scan(root, Sources("nuclei", **options))[1]
    return [(problem.path, f"{problem.what}; {problem.advice}") for problem in found.problems]


def slices(root: Path, *numbers: tuple[int, int], labelled: bool = True) -> Path:
    """Write prepared slices, of time and z each."""
    for t, z in numbers:
        png(root / "features" / f"F{t}_{z}.png", image(SHAPE[1:], 10 * t + z))
        if labelled:
            png(root / "segmentation_maps" / f"L{t}_{z}.png", labels(SHAPE[1:]))
    return root


def listed(root: Path, *lines: str, name: str = "list.csv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n")
    return root


# Cell Tracking Challenge --------------------------------------------------------------------------------------------


def test_challenge_has_a_row_for_each_slice_of_labelled_volumes(tmp_path: Path, caplog: Warnings) -> None:
    challenge(tmp_path, {"01": 3, "02": 1})
    tiff(tmp_path / "01/t003.tif", image())
    with caplog.at_level(logging.INFO, logger="visionlab"):
        table = index(tmp_path, blocks=2)
    assert "1 time points have no labels and are not used" in caplog.text
    assert "ctc layout, 16 labelled slices of 4 volumes in 3 groups" in caplog.text
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


def test_flat_challenge_has_images_without_z(tmp_path: Path) -> None:
    table = index(challenge(tmp_path, {"01": 2}, shape=SHAPE[1:]))
    assert table[["id", "path", "nuclei_path", "z"]].to_numpy().tolist() == [
        ["01_t000", "01/t000.tif", "01_ST/SEG/man_seg000.tif", -1],
        ["01_t001", "01/t001.tif", "01_ST/SEG/man_seg001.tif", -1],
    ]


def test_sparse_gold_gives_these_slices_alone(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2}, gold=True)
    tiff(tmp_path / "01_GT/SEG/man_seg_001_002.tif", labels(SHAPE[1:]))
    assert index(tmp_path, truth="gt")["id"].tolist() == ["01_t000_z001", "01_t001_z001", "01_t001_z002"]
    assert len(index(tmp_path)) == len(index(tmp_path, truth="st")) == 8
    # Where there is no silver truth, the gold one serves.
    (tmp_path / "01_ST/SEG/man_seg001.tif").unlink()
    table = index(tmp_path)
    assert table.loc[table["time"] == 1, "nuclei_path"].tolist() == [
        "01_GT/SEG/man_seg_001_001.tif",
        "01_GT/SEG/man_seg_001_002.tif",
    ]


def test_whole_gold_comes_before_its_slices(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 1}, gold=True)
    tiff(tmp_path / "01_GT/SEG/man_seg000.tif", labels())
    paths = index(tmp_path, truth="gt")["nuclei_path"].tolist()
    assert paths == [f"01_GT/SEG/man_seg000.tif#{z}" for z in range(4)]


def test_any_number_of_digits(tmp_path: Path) -> None:
    tiff(tmp_path / "7/t0012.tif", image())
    tiff(tmp_path / "7_ST/SEG/man_seg12.tif", labels())
    assert index(tmp_path)["id"].tolist()[0] == "7_t0012_z0000"


def test_one_folder_up_is_found_but_a_sequence_is_not_the_root(tmp_path: Path) -> None:
    challenge(tmp_path / "up" / "set", {"01": 1})
    assert index(tmp_path / "up")["path"].tolist()[0] == "set/01/t000.tif#0"
    with pytest.raises(DataError, match=r"01: is a single sequence.*set data.root to .*set$"):
        index(tmp_path / "up" / "set" / "01")
    challenge(tmp_path / "up" / "other", {"01": 1})
    with pytest.raises(DataError, match=r"2 of its folders hold sequences: other, set; set data.root to one of them"):
        index(tmp_path / "up")


def test_labels_of_what_is_not_there_are_refused(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 2})
    tiff(tmp_path / "01_GT/SEG/man_seg_005_001.tif", labels(SHAPE[1:]))
    tiff(tmp_path / "01_GT/SEG/man_seg_001_009.tif", labels(SHAPE[1:]))
    tiff(tmp_path / "03_GT/SEG/man_seg_001_000.tif", labels(SHAPE[1:]))
    assert problems(tmp_path) == [
        ("03_GT", "holds labels of a sequence without images: there is no 03/t000.tif; add the images or move the "
         "labels out"),
        ("01_GT/SEG/man_seg_005_001.tif", "is of time point 5, but there is no 01/t005.tif: those of sequence 01 are 0 "
         "to 1; add the image or remove the labels"),
        ("01_GT/SEG/man_seg_001_009.tif", "is of slice 9, but its image 01/t001.tif has the slices 0 to 3; correct the "
         "number or remove the file"),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"2 problems, beside 8 samples that can be used:\n  01_GT/SEG/man_seg"):
        index(tmp_path)


def test_jpeg_labels_are_refused_whatever_their_name(tmp_path: Path) -> None:
    challenge(tmp_path, {"01": 3})
    (tmp_path / "01_ST/SEG/man_seg001.tif").unlink()
    jpeg(tmp_path / "01_ST/SEG/man_seg001.jpg", labels(SHAPE[1:]))
    jpeg(tmp_path / "01_ST/SEG/man_seg002.tif", labels(SHAPE[1:]))
    found = problems(tmp_path)
    assert [path for path, _ in found] == ["01_ST/SEG/man_seg001.jpg", "01_ST/SEG/man_seg002.tif"]
    assert all("compressed as JPEG, which changes the numbers of objects" in what for _, what in found)


def other_size(root: Path) -> None:
    tiff(root / "01_ST/SEG/man_seg001.tif", labels((4, 12, 15)))


def other_order(root: Path) -> None:
    tiff(root / "01_ST/SEG/man_seg001.tif", labels((12, 4, 16)))


def one_slice(root: Path) -> None:
    tiff(root / "01_ST/SEG/man_seg001.tif", labels(SHAPE[1:]))


def volume_as_slice(root: Path) -> None:
    (root / "01_ST/SEG/man_seg001.tif").rename(root / "01_ST/SEG/man_seg_001_2.tif")


def cut_image(root: Path) -> None:
    path = root / "01/t001.tif"
    path.write_bytes(path.read_bytes()[:-300])


def no_slice(root: Path) -> None:
    with pytest.warns(UserWarning, match="zero-size"):
        tiff(root / "01/t001.tif", np.zeros((0, 12, 16), np.uint16), metadata={"axes": "ZYX"})


def series(root: Path) -> None:
    tiff(root / "01/t001.tif", image(), imagej=True, metadata={"axes": "TYX"})


def twice(root: Path) -> None:
    tiff(root / "01/t1.tif", image())


@pytest.mark.parametrize(
    ("damage", "path", "what"),
    [
        (other_size, "01_ST/SEG/man_seg001.tif", "is 4 x 12 x 15 (z, y, x), but its image 01/t001.tif is 4 x 12 x 16"),
        (other_size, "01_ST/SEG/man_seg001.tif", "expected equal sizes"),
        (other_order, "01_ST/SEG/man_seg001.tif", "the axes look to be in another order: save both with the axes"),
        (one_slice, "01_ST/SEG/man_seg001.tif", "say of which slice it is (man_seg_TIME_SLICE.tif, or a column z)"),
        (volume_as_slice, "01_ST/SEG/man_seg_001_2.tif", "expected a volume and the labels of its slice 2 alone"),
        (cut_image, "01/t001.tif", "truncated"),
        (no_slice, "01/t001.tif", "expected at least 1 x 1"),
        (series, "01_ST/SEG/man_seg001.tif", "its image 01/t001.tif is 4 x 12 x 16 (t, y, x)"),
        (twice, "01/t1.tif", "has the same number as 01/t001.tif"),
    ],
)
def test_one_bad_file_is_named(tmp_path: Path, damage: Callable[[Path], None], path: str, what: str) -> None:
    challenge(tmp_path, {"01": 2})
    damage(tmp_path)
    ((found, text),) = problems(tmp_path)
    assert found == path
    assert what in text


def test_nothing_labelled(tmp_path: Path) -> None:
    tiff(tmp_path / "01/t000.tif", image())
    with pytest.raises(DataError, match=r"its 1 time points in 01_ST/SEG or 01_GT/SEG .*found nothing labelled"):
        index(tmp_path)
    tiff(tmp_path / "01_GT/SEG/man_seg000.tif", labels())
    with pytest.raises(DataError, match=r"found labels in 01_GT/SEG; set data.truth=gt"):
        index(tmp_path, truth="st")


# Prepared slices ----------------------------------------------------------------------------------------------------


def test_prepared_slices_make_volumes(tmp_path: Path) -> None:
    slices(tmp_path, (7, 3), (7, 4), (190, 18), (190, 19))
    slices(tmp_path, (7, 5), labelled=False)
    table = index(tmp_path, neighbours=1)
    assert table[["id", "path", "nuclei_path", "time", "z", "frame", "path+1"]].to_numpy().tolist() == [
        ["01_t007_z003", "features/F7_3.png", "segmentation_maps/L7_3.png", 7, 3, "01_t007", "features/F7_4.png"],
        ["01_t007_z004", "features/F7_4.png", "segmentation_maps/L7_4.png", 7, 4, "01_t007", "features/F7_5.png"],
        ["01_t190_z018", "features/F190_18.png", "segmentation_maps/L190_18.png", 190, 18, "01_t190",
         "features/F190_19.png"],
        ["01_t190_z019", "features/F190_19.png", "segmentation_maps/L190_19.png", 190, 19, "01_t190",
         "features/F190_19.png"],
    ]  # fmt: skip
    assert table["group"].unique().tolist() == ["01/t007", "01/t190"]


def test_the_list_chooses_the_slices(tmp_path: Path) -> None:
    slices(tmp_path, (0, 0), (0, 1), (1, 0), (1, 1))
    listed(tmp_path, "id", "0_1.png", "1_0.png", name="file_ids.csv")
    assert index(tmp_path)["id"].tolist() == ["01_t000_z001", "01_t001_z000"]
    listed(tmp_path, ",0", "0,0_1.png", "1,2_0.png", "2,0_1.png", "3,what", name="file_ids.csv")
    assert [what.split(";")[0] for _, what in problems(tmp_path)] == [
        "'0_1.png' stands in line 2 as well",
        "expected a name like 190_18.png, found '3,what'",
        "lists 2_0, but there is no features/F2_0.png",
        "lists 2_0, but there is no segmentation_maps/L2_0.png",
    ]


def test_slices_with_a_gap_stand_for_themselves(tmp_path: Path, caplog: Warnings) -> None:
    with caplog.at_level(logging.INFO, logger="visionlab"):
        table = index(slices(tmp_path, (0, 0), (0, 2), (1, 0)), neighbours=1)
    assert (
        "not taken as slices of volumes: 1 between the first and last of time 0 in sequence 01 are miss" in caplog.text
    )
    assert "no volumes, so each image is its own neighbour" in caplog.text
    assert table["frame"].tolist() == ["01_t000_z000", "01_t000_z002", "01_t001_z000"]
    assert table["group"].tolist() == ["01/t000", "01/t000", "01/t001"]


def test_prepared_slices_that_do_not_fit(tmp_path: Path) -> None:
    slices(tmp_path, (0, 0), (0, 1))
    png(tmp_path / "segmentation_maps/L9_0.png", labels(SHAPE[1:]))
    png(tmp_path / "segmentation_maps/L0_1.png", labels((16, 12)))
    (tmp_path / "segmentation_maps/L0_0.png").unlink()
    jpeg(tmp_path / "segmentation_maps/L0_0.jpg", labels(SHAPE[1:]))
    found = problems(tmp_path)
    assert [path for path, _ in found] == [f"segmentation_maps/{name}" for name in ("L9_0.png", "L0_0.jpg", "L0_1.png")]
    assert "is of time point 9, slice 0, which features/ does not have" in found[0][1]
    assert "compressed as JPEG" in found[1][1]
    assert "axes look to be in another order" in found[2][1]


# Tables -------------------------------------------------------------------------------------------------------------


def test_a_table_of_images_without_anything_else(tmp_path: Path) -> None:
    for name in ("b", "a"):
        png(tmp_path / "images" / f"{name}.png", image(SHAPE[1:], ord(name)))
        png(tmp_path / "masks" / f"{name}.png", labels(SHAPE[1:]))
    listed(tmp_path, "image,mask", "images/b.png,masks/b.png", "images/a.png,masks/a.png", name="metadata_pil.csv")
    table = index(tmp_path)
    assert table.to_numpy().tolist() == [
        ["a", "a", "images/a.png", "masks/a.png", "", -1, -1, "a"],
        ["b", "b", "images/b.png", "masks/b.png", "", -1, -1, "b"],
    ]
    # A table elsewhere names files from the root.
    (tmp_path / "metadata_pil.csv").rename(tmp_path.parent / "elsewhere.csv")
    pd.testing.assert_frame_equal(index(tmp_path, table=str(tmp_path.parent / "elsewhere.csv")), table)


def test_a_table_of_volumes_and_of_slices_of_them(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", image())
    tiff(tmp_path / "a_all.tif", labels())
    png(tmp_path / "a_2.png", labels(SHAPE[1:]))
    listed(tmp_path, "image,label,sequence,time", "a.tif,a_all.tif,E1,5")
    table = index(tmp_path, table="list.csv")
    assert table[["id", "group", "nuclei_path", "z", "frame"]].to_numpy().tolist() == [
        [f"a_z00{z}", "E1/t005", f"a_all.tif#{z}", z, "a"] for z in range(4)
    ]
    listed(tmp_path, "image,label,z", "a.tif,a_2.png,2")
    table = index(tmp_path, table="list.csv")
    assert table[["id", "group", "path", "nuclei_path", "z"]].to_numpy().tolist() == [
        ["a_z002", "a", "a.tif#2", "a_2.png", 2]
    ]


def test_a_table_of_a_series_and_of_slices_in_files(tmp_path: Path) -> None:
    tiff(tmp_path / "s.tif", image((3, 12, 16)), imagej=True, metadata={"axes": "TYX"})
    tiff(tmp_path / "l.tif", labels((3, 12, 16)), imagej=True, metadata={"axes": "TYX"})
    listed(tmp_path, "image,label", "s.tif,l.tif")
    table = index(tmp_path, table="list.csv")
    assert table[["id", "group", "path", "time", "z"]].to_numpy().tolist() == [
        [f"s_t00{t}", f"s/t00{t}", f"s.tif#{t}", t, -1] for t in range(3)
    ]
    rows = ["image,label,time,z"]
    for z in (1, 0):
        png(tmp_path / f"i{z}.png", image(SHAPE[1:], z))
        png(tmp_path / f"l{z}.png", labels(SHAPE[1:]))
        rows.append(f"i{z}.png,l{z}.png,4,{z}")
    table = index(listed(tmp_path, *rows), table="list.csv", neighbours=1)
    assert table[["id", "frame", "z", "path-1"]].to_numpy().tolist() == [
        ["i0", "01_t004", 0, "i0.png"],
        ["i1", "01_t004", 1, "i0.png"],
    ]


@pytest.mark.parametrize(
    ("lines", "where", "what"),
    [
        (["image,label", "a.png,l.png", "a.png,l.png"], "list.csv line 3", "'a.png' stands in list.csv line 2 as well"),
        (
            ["image,label,time", "a.png,l.png,1", "b.png,l.png,1"],
            "list.csv line 3",
            "is of sequence 01, time 1, as list",
        ),
        (["image,label", "a.png,l.png", "a.tif,l.png"], "list.csv line 3", "has the same name as a.png: a"),
        (["image,label,time,z,group", "a.png,l.png,1,0,A", "b.png,l.png,1,1,B"], "list.csv line 3", "is of group 'B'"),
        (["image,label,z,group", "v.tif,l.png,1,A", "v.tif,l.png,2,B"], "list.csv line 3", "is of group 'B', but list"),
        (["image,label,z", "v.tif,l.png,4"], "list.csv line 2", "is of slice 4, but its image v.tif has the slices 0"),
        (["image,label", "v.tif,l.png"], "list.csv line 2", "say of which slice it is"),
        (["image,label", "a.png,l.jpg"], "l.jpg", "compressed as JPEG"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path: Path, lines: list[str], where: str, what: str) -> None:
    root = tmp_path / "root"
    for seed, name in enumerate(("a.png", "b.png")):
        png(root / name, image(SHAPE[1:], seed))
    tiff(root / "a.tif", image(SHAPE[1:], 7))
    tiff(root / "v.tif", image())
    jpeg(root / "l.jpg", labels(SHAPE[1:]))
    png(root / "l.png", labels(SHAPE[1:]))
    png(tmp_path / "out.png", labels(SHAPE[1:]))
    ((found, text),) = problems(listed(root, *lines), table="list.csv")
    assert found == where
    assert what in text


# MATLAB -------------------------------------------------------------------------------------------------------------


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


def test_a_table_may_name_matlab_files_of_any_variable(tmp_path: Path) -> None:
    mat(tmp_path / "a.mat", stain=image())
    mat(tmp_path / "b.mat", cells=labels())
    mat(tmp_path / "c.mat", embryo=image((3, 12, 16)), membSeg=labels((3, 12, 16)))
    listed(tmp_path, "image,label", "a.mat,b.mat", "c.mat,c.mat")
    assert index(tmp_path, table="list.csv")["nuclei_path"].tolist() == [
        *(f"b.mat#{z}" for z in range(4)),
        *(f"c.mat#{z}" for z in range(3)),
    ]


def test_the_only_two_matlab_files_are_a_pair(tmp_path: Path) -> None:
    mat(tmp_path / "raw.mat", embryo=image())
    mat(tmp_path / "walls.mat", membSeg=labels())
    assert index(tmp_path)["nuclei_path"].tolist() == [f"walls.mat#{z}" for z in range(4)]


def test_matlab_files_that_cannot_be_used(tmp_path: Path) -> None:
    mat(tmp_path / "a.mat", embryo=image(), membSeg=labels((4, 12, 30)))
    mat(tmp_path / "b.mat", embryo=image())
    mat(tmp_path / "c.mat", membSeg=labels())
    mat(tmp_path / "d.mat", embryo=image())
    mat(tmp_path / "d_membSeg.mat", membSeg=labels())
    mat(tmp_path / "e.mat", embryo=image()[:0], membSeg=labels())
    path = mat(tmp_path / "f.mat", embryo=image(), membSeg=labels())
    path.write_bytes(path.read_bytes()[:-200])
    mat(tmp_path / "x/d.mat", membSeg=labels())
    found = dict(problems(tmp_path))
    assert sorted(found) == ["a.mat", "b.mat", "c.mat", "e.mat", "f.mat", "x/d.mat"]
    assert "its labels are 4 x 12 x 30 (z, y, x), but the image a.mat is 4 x 12 x 16" in found["a.mat"]
    assert "holds embryo, but neither it nor another file of its name membSeg: the variable" in found["b.mat"]
    assert "holds membSeg, but neither it nor another file of its name embryo: the variable" in found["c.mat"]
    assert "its name embryo: embryo is empty (12 x 16 x 0)" in found["e.mat"]
    assert "truncated" in found["f.mat"]
    assert "holds membSeg as d_membSeg.mat does" in found["x/d.mat"]


# Layouts ------------------------------------------------------------------------------------------------------------


def test_what_is_no_layout(tmp_path: Path) -> None:
    png(tmp_path / "pictures/a.png", image(SHAPE[1:]))
    with pytest.raises(DataError, match=r"found pictures/; the layouts are\n  ctc: "):
        index(tmp_path)
    with pytest.raises(DataError, match=r"features: expected a folder of files FTIME_SLICE.png"):
        index(tmp_path, layout="pairs")
    with pytest.raises(DataError, match="in its 0 MATLAB files"):
        index(tmp_path, layout="matlab")
    with pytest.raises(ConfigError, match=r"data.layout=table: expected data.table=FILE.csv, or metadata_pil.csv"):
        index(tmp_path, layout="table")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"table": "x.csv", "layout": "ctc"}, "data.table: not used with data.layout=ctc"),
        ({"blocks": 0}, "data.blocks: expected at least 1, found 0"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        index(challenge(tmp_path, {"01": 1}), **options)


@pytest.mark.parametrize("layout", ["pairs", "matlab"])
def test_truth_is_of_the_challenge(tmp_path: Path, layout: Layout) -> None:
    slices(tmp_path, (0, 0))
    with pytest.raises(ConfigError, match=f"data.truth=gt: is of data.layout=ctc, but .* has the layout {layout}"):
        index(tmp_path, layout=layout, truth="gt")
