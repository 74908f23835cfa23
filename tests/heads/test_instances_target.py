"""Whether labels number objects: counted in a volume, not in a slice, and in images over the whole set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.celegans import SHAPE, challenge, image, labels, module, png, tiff
from visionlab.data.preprocess import Preprocess
from visionlab.errors import DataError
from visionlab.heads.instances.fit import FitFrame, fit
from visionlab.heads.instances.head import InstanceHead
from visionlab.heads.instances.target import InstanceReader


def layers(*numbers: int) -> np.ndarray:
    """A volume whose second and third slice have one object each, of these numbers."""
    ids = np.zeros(SHAPE, np.uint16)
    for z, number in enumerate(numbers, start=1):
        ids[z, 2:6, 2:6] = number
    return ids


@pytest.mark.parametrize(
    ("numbers", "apart"), [((1, 2), True), ((2, 1), True), ((7, 7), False), ((1, 1), False), ((255, 255), False)]
)
def test_objects_of_which_no_two_lie_in_one_slice(tmp_path: Path, numbers: tuple[int, int], apart: bool) -> None:
    challenge(tmp_path, {"01": 2, "02": 3})
    for path in tmp_path.glob("*_ST/SEG/*.tif"):
        tiff(path, layers(*numbers))
    data = module(tmp_path, folds=2, fold=0)
    data.setup()
    assert {frame.instances for split in ("train", "test") for frame in data.frames(split)} == {apart}
    (facts,) = [stored.facts for stored in data.stored_maps.values()]
    assert facts["objects"].max() == 1, "none of the slices tells"


@pytest.mark.parametrize(("numbers", "apart"), [((1, 1, 1, 1, 1), False), ((1, 1, 3, 1, 1), True)])
def test_images_of_one_object_each_are_decided_by_the_set(
    tmp_path: Path, numbers: tuple[int, ...], apart: bool
) -> None:
    rows = ["image,label"]
    for place, number in enumerate(numbers):
        png(tmp_path / f"i{place}.png", image((9, 11), place))
        png(tmp_path / f"l{place}.png", np.eye(9, 11, dtype=np.uint8) * number)
        rows.append(f"i{place}.png,l{place}.png")
    (tmp_path / "metadata_pil.csv").write_text("\n".join(rows))
    data = module(tmp_path)
    data.setup()
    assert {frame.instances for frame in data.frames("train")} == {apart}


def test_they_are_counted_and_matched(tmp_path: Path) -> None:
    """Two objects above each other, both found: every metric of objects is perfect, none undefined."""
    from visionlab.heads.head import Split
    from visionlab.heads.instances.head import InstanceHead
    from visionlab.heads.instances.segment import Parameters

    challenge(tmp_path, {"01": 2, "02": 3})
    ids = np.zeros(SHAPE, np.uint16)
    ids[1, 2:6, 2:6], ids[2, 7:11, 9:13] = 1, 2
    for path in tmp_path.glob("*_ST/SEG/*.tif"):
        tiff(path, ids)
    data = module(tmp_path, folds=2, fold=0)
    data.setup()
    names = ["precision", "recall", "f1", "seg", "det"]
    options = {"separate": "none", "cells": "filled", "weight": 1.0, "activation": "sigmoid"}
    head = InstanceHead.from_data("nuclei", data, metrics=[*names, "count_error"], **options)
    head.set_parameters(Parameters(min_planes=1), fitted=True)
    rows = data.rows["test"]
    split = Split(
        data.table["group"].iloc[rows].tolist(),
        np.zeros((0, 0)),
        np.zeros((0, 0)),
        samples={int(row): number for number, row in enumerate(rows)},
        frames=lambda only: data.frames("test", only),
        maps=lambda frame: (frame.truth > 0).astype(np.float32)[:, None],
    )
    found = head.summarise(head.evaluate(split), split.groups)
    assert {name: found[name]["value"] for name in names} == dict.fromkeys(names, 1.0)
    assert found["count_error"]["value"] == 0


def test_slices_with_gaps_between_them_are_no_volumes(tmp_path: Path) -> None:
    for name in ("_0", "_2"):
        for time in range(6):
            png(tmp_path / "features" / f"F{time}{name}.png", image((16, 16), time + 10 * len(name)) + int(name[1]))
            png(tmp_path / "segmentation_maps" / f"L{time}{name}.png", labels((16, 16)))
    data = module(tmp_path, gap=0)
    data.setup()
    assert not next(data.frames("train")).volume
    options = {"separate": "none", "cells": "filled", "metrics": ["seg"], "weight": 1.0, "activation": "sigmoid"}
    assert InstanceHead.from_data("nuclei", data, **options).dimensions == 2


def test_ids_may_be_large() -> None:
    truth = np.zeros((1, 20, 20), np.int32)
    truth[0, 3:8, 3:8], truth[0, 12:17, 12:17] = 2**31 - 1, 2**31 - 5
    maps = (truth > 0)[:, None].astype(np.float32)
    assert fit([FitFrame(maps, truth, False)], separate="none", threshold=0.5).min_area == 0


def test_more_objects_than_are_kept_apart_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "many.tif", np.arange(1, 70001, dtype=np.uint32).reshape(100, 700))
    with pytest.raises(DataError, match="70000 objects in a plane"):
        InstanceReader([((100, 700), (100, 700))]).read(path, 0, Preprocess(1, 100, 700, "native", "uint16"))
