"""What a review of ``predict`` on volumes and series found, as a user types it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from tests import celegans, shell
from tests import known_objects as known
from visionlab.drawing.animation import Animation, through_z
from visionlab.errors import DataError
from visionlab.inference.output_folder import DONE
from visionlab.inference.series import as_planes
from visionlab.io import open_volume, read_image


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return known.write_run(tmp_path / "run")


def frames(folder: Path) -> Path:
    folder.mkdir()
    for time, values in enumerate(known.series()):
        tifffile.imwrite(folder / f"t{time:03d}.tif", values, metadata={"axes": "ZYX"})
    return folder


def test_results_written_beside_the_images_are_not_predicted_again(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = frames(tmp_path / "01")
    for _ in range(2):
        assert known.predict(monkeypatch, known.predictor(), run, folder, "--out", folder) == 0
        assert set(pd.read_csv(folder / "objects.csv")["file"]) == {str(folder / f"t00{t}.tif") for t in (0, 1)}
    assert not (folder / "nuclei" / "nuclei").exists()


def test_what_a_killed_command_left_half_written_goes(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = frames(tmp_path / "01"), tmp_path / "out"
    assert known.predict(monkeypatch, known.predictor(), run, folder, "--out", out) == 0
    (out / ".predictions.csv.0123.part").touch()
    assert known.predict(monkeypatch, known.predictor(), run, folder, "--out", out) == 0
    assert [path.name for path in out.glob(".*")] == [DONE]


def test_labels_of_another_file_of_the_same_name_are_not_replaced(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, out = frames(tmp_path / "01"), frames(tmp_path / "02"), tmp_path / "out"
    assert known.predict(monkeypatch, known.predictor(), run, first, "--out", out) == 0
    before = (out / "objects.csv").read_bytes()
    assert known.predict(monkeypatch, known.predictor(), run, second, "--out", out) == 2
    assert "t000 is what was predicted of" in capsys.readouterr().err
    assert (out / "objects.csv").read_bytes() == before
    # Of files that were moved it is, as they are the same ones.
    shutil.rmtree(first)
    assert known.predict(monkeypatch, known.predictor(), run, second, "--out", out) == 0


def test_animations_number_slices_as_tables_do_and_keep_the_number_where_there_is_little_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(Animation, "add", lambda _, image, labels, caption="": drawn.append(caption))
    through_z(np.zeros((2, 8, 8, 1)), {}, {"true": "#ff0000"}, name="03_t002", pixel=None)
    assert drawn == ["03_t002 z 0", "03_t002 z 1"]
    monkeypatch.undo()
    pictures = []
    for z in range(2):
        animation = Animation({"true": "#ff0000", "predicted": "#00ff00"}, pixel=0.75)
        animation.add(np.zeros((48, 64, 1)), {}, f"a_long_name_of_03_t002 z {z}")
        pictures.append(np.asarray(Image.open(animation.save(tmp_path / f"{z}.gif")).convert("L")))
    assert (pictures[0] != pictures[1]).any()


def test_the_advice_on_axes_makes_a_file_that_can_be_read(tmp_path: Path) -> None:
    volume_zyx = np.zeros((3, 8, 9), np.uint16)
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, volume_zyx, photometric="rgb", planarconfig="separate", metadata={"axes": "ZYX"})
    with pytest.raises(DataError, match="photometric='minisblack'") as caught:
        open_volume(path)
    exec(str(caught.value)[str(caught.value).index("tifffile.imwrite") :])
    assert open_volume(path).axes == "ZYX"


def test_reading_a_plane_does_not_contradict_axes_that_were_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr("visionlab.io.formats.tell_once", said.append)
    values = np.arange(5 * 8 * 9, dtype=np.uint16).reshape(5, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", values, metadata=None)
    with caplog.at_level(logging.INFO):
        assert open_volume(tmp_path / "a.tif", axes="TYX").frames == 5
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif#3")[..., 0], values[3])
        assert not said
        assert open_volume(tmp_path / "a.tif").planes == 5
    assert said == ["Z"]


def test_prepare_says_what_it_found_once_and_names_files_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    celegans.challenge(tmp_path / "a", {"01": 2, "02": 2, "03": 2})
    settings = ["task=celegans_nuclei", "data.image_size=8", "data.num_workers=0", f"data.cache_dir={tmp_path / 'c'}"]
    settings.append(f"data.root={tmp_path / 'a'}")
    assert shell.run("prepare", *settings, f"hydra.run.dir={tmp_path / 'one'}") == 0
    assert capsys.readouterr().err.count("ctc layout") == 1
    path = tmp_path / "a" / "01_ST" / "SEG" / "man_seg001.tif"
    tifffile.imwrite(path, tifffile.imread(path) * 0.3, photometric="minisblack", metadata={"axes": "ZYX"})
    assert shell.run("prepare", *settings, f"hydra.run.dir={tmp_path / 'two'}") == 1
    line = next(line for line in capsys.readouterr().err.splitlines() if "whole numbers" in line)
    assert line.count("man_seg001.tif") == 1


def test_three_time_points_are_not_taken_for_the_colours_of_an_image(tmp_path: Path) -> None:
    path = tmp_path / "tyx.tif"
    values = np.random.default_rng(0).integers(0, 1000, (3, 20, 24)).astype(np.uint16)
    # tifffile writes three planes as red, green and blue unless it is told otherwise.
    tifffile.imwrite(path, values, metadata={"axes": "TYX"})
    samples, _ = as_planes([{"image": path}])
    assert [sample["image"].name for sample in samples] == ["tyx.tif#0"]
    with pytest.raises(DataError, match="has axes TYX"):
        read_image(samples[0]["image"])
