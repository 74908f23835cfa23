"""Going on where a command stopped: what is done is left as it is, what is there of others is not touched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tifffile
from filelock import FileLock

from tests import known_objects as known
from tests.known_objects import files, imagej, table
from visionlab.files import temporary
from visionlab.inference import tiles
from visionlab.inference.output_folder import DONE


class Counted:
    """Counts the planes that are predicted, and raises an error after some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.most = 0, 10**9
        original = tiles.predict_planes

        def planes(*arguments: Any) -> Iterator[Any]:
            for maps in original(*arguments):
                self.count += 1
                if self.count > self.most:
                    raise KeyboardInterrupt
                yield maps

        monkeypatch.setattr("visionlab.inference.predictor.predict_planes", planes)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_an_interrupted_command_goes_on_where_it_was(
    predict: Any, three: Path, tmp_path: Path, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert predict(three, "--gif", "--probabilities") == 0
    whole = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out") if ".done" not in name}
    shutil.rmtree(tmp_path / "out")
    counted.count, counted.most = 0, 10  # in the middle of the second file
    assert predict(three, "--gif", "--probabilities") == 130
    first = {"nuclei/a.tif", "probability/nuclei/a.tif"}
    assert {name for name in files(tmp_path / "out") if ".done" not in name} == first
    counted.count, counted.most = 0, 10**9
    # What a kill leaves, which runs no clean-up.
    (tmp_path / "out" / ".done" / "work" / "nuclei").mkdir(parents=True)
    (tmp_path / "out" / ".done" / "work" / "nuclei" / "b.tif").write_bytes(b"half")
    assert predict(three, "--gif", "--probabilities") == 0
    assert counted.count == 14
    assert "1 of 3 files were predicted before" in caplog.text
    found = {name: (tmp_path / "out" / name).read_bytes() for name in files(tmp_path / "out") if ".done" not in name}
    assert found.keys() == whole.keys()
    for name in found.keys() - {"population.png"}:
        assert found[name] == whole[name], name
    assert predict(three, "--gif", "--probabilities") == 0
    assert counted.count == 14
    assert (tmp_path / "out" / "objects.csv").read_bytes() == whole["objects.csv"]


def test_what_changed_is_predicted_again(predict: Any, three: Path, tmp_path: Path, counted: Counted) -> None:
    assert predict(three) == 0
    counted.count = 0
    imagej(three / "b.tif", known.series()[0], "ZYX")
    (tmp_path / "out" / "nuclei" / "c.tif").unlink()
    assert predict(three) == 0
    assert counted.count == 14
    assert table(tmp_path / "out", "population")["objects"].tolist() == [2, 2, 3]
    # More of it is wanted than was.
    assert predict(three / "a.tif", "--probabilities") == 0
    assert (tmp_path / "out" / "probability" / "nuclei" / "a.tif").is_file()
    assert counted.count == 21


def test_other_models_and_options_need_another_folder(
    predict: Any, three: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(three, "--threshold", "0.4") == 0
    before = (out / "objects.csv").read_bytes()
    for arguments, expected in (
        (("--threshold", "0.3"), "with --threshold 0.4 (now 0.3); give another folder"),
        (("--threshold", "0.4", "--axes", "TYX"), "with no --axes (now TYX)"),
        (("--threshold", "0.4", "--voxel-size", "1,2,3"), "with no --voxel-size (now 1,2,3)"),
        (("--threshold", "0.4", "--tta", "flips"), "with no --tta (now flips, mean)"),
    ):
        assert predict(three, *arguments) == 2
        assert f"error: --out {out}: what is there was predicted {expected}" in capsys.readouterr().err
    (run / "checkpoints" / "best.ckpt").write_bytes(b"another model")
    assert predict(three, "--threshold", "0.4") == 2
    assert "best.ckpt, which has changed since; give another folder" in capsys.readouterr().err
    assert (out / "objects.csv").read_bytes() == before


def test_folders_of_others_and_of_running_commands_are_left_alone(
    predict: Any, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "nuclei").mkdir(parents=True)
    assert predict(three) == 2
    assert "found 'nuclei' there, not from an earlier prediction" in capsys.readouterr().err
    assert files(tmp_path / "out") == set()
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out" / ".done").mkdir(parents=True)
    with FileLock(tmp_path / "out" / ".done" / "lock"):
        assert predict(three) == 2
    assert "another prediction is writing there" in capsys.readouterr().err
    assert predict(three) == 0


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
    temporary(out / "predictions.csv").touch()
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
