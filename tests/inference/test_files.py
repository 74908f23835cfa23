"""What a user names: what was predicted before is no image, and names may be of any length."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import known_objects as known
from tests import shell, untrained
from visionlab.errors import UsageError
from visionlab.heads.depth.head import DepthHead
from visionlab.heads.mask.head import MaskHead
from visionlab.inference.files import find_images

GRAY = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32).astype(np.uint8)
HEADER = "path,name,value,unit\n"


def photographs(folder: Path, *names: str) -> list[Path]:
    for name in names:
        untrained.write_png(folder / name, GRAY)
    return [folder / name for name in names]


def write_run(folder: Path, kind: str) -> Path:
    """Write a run of one kind of head whose weights were never trained."""
    if kind == "numbers":
        return untrained.write_run(folder, [untrained.numbers("distance")], (), channels=1)
    if kind == "labels":
        return untrained.write_run(folder, [untrained.labels(thresholds=[0.5] * 5)], (), channels=1)
    heads: dict[str, Any] = {
        "maps": [
            MaskHead("mask", share=0.1, metrics=[], weight=1.0, activation="sigmoid"),
            DepthHead("depth", unit="m", low=0.0, high=4.0, mean=2.0, metrics=[], weight=1.0, activation="sigmoid"),
        ],
        "objects": [known.head()],
    }
    return untrained.write_run(folder, heads[kind], (), network="shuffle_unet", channels=1)


@pytest.mark.parametrize("kind", ["numbers", "labels", "maps", "objects"])
def test_the_same_command_twice_predicts_the_same_images(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run, photos = write_run(tmp_path / "run", kind), tmp_path / "photos"
    photographs(photos, "a.png", "deep/b.png")
    monkeypatch.chdir(photos)
    expected = {"a.png", "deep/b.png"}
    for inputs in ([], [], ["--out", "other"], ["--out", "."], ["--out", "."]):
        assert shell.run("predict", run, ".", *inputs) == 0
        out = Path(inputs[1] if inputs else "predictions")
        assert set(pd.read_csv(out / "predictions.csv")["path"]) == expected, inputs
    if kind in ("maps", "objects"):
        assert "What was predicted before is left out, such as " in caplog.text
        # Named one by one, they are images.
        name = "predictions/overlay/a.png"
        assert shell.run("predict", run, name, "--out", tmp_path / "third") in (0, 1)
        tried = pd.concat(pd.read_csv(path) for path in (tmp_path / "third").glob("*ed*.csv"))
        assert set(tried["path"]) == {name}
        with pytest.raises(UsageError, match=r"predictions: expected images, found predictions only, such as predict"):
            find_images(["predictions"])


def test_only_folders_of_predictions_are_left_out(tmp_path: Path) -> None:
    names = ("a.png", "out/overlay/a.png", "old/mask/deep/a.png", "mask/b.png", "foreign/c.png", "old/x.png")
    files = photographs(tmp_path, *names)
    (tmp_path / "old" / "predictions.csv").write_text(HEADER)
    (tmp_path / "foreign" / "predictions.csv").write_text("image,class\n")
    kept = [tmp_path / name for name in ("a.png", "foreign/c.png", "mask/b.png")]
    out = tmp_path / "out"
    assert find_images([str(tmp_path)], out=out) == kept
    assert find_images([f"{tmp_path}/**/*.png"], out=out) == kept
    assert find_images([f"{tmp_path}/*"], out=out) == kept
    assert find_images([str(path) for path in files], out=out) == files, "named one by one"
    # As the shell makes them of a pattern.
    assert find_images([str(path) for path in sorted(tmp_path.iterdir())], out=tmp_path / "old") == [
        *(tmp_path / name for name in ("a.png", "foreign/c.png", "mask/b.png", "old/mask/deep/a.png", "old/x.png")),
        files[1],
    ]
    # What lies in a folder that is named itself was not all written by us.
    assert find_images([str(tmp_path / "old")]) == [tmp_path / "old/mask/deep/a.png", tmp_path / "old/x.png"]
    assert find_images([str(tmp_path / "out" / "overlay")], out=out) == [files[1]]


@pytest.mark.parametrize("kind", ["maps", "objects"])
def test_names_of_any_length_are_predicted(kind: str, tmp_path: Path) -> None:
    names = [f"{letter * length}.png" for letter, length in zip("abcd", (1, 214, 250, 251), strict=True)]
    photographs(tmp_path / "in", *names, f"{'d' * 251}.jpg", f"{'é' * 125}.png")
    run, out = write_run(tmp_path / "run", kind), tmp_path / "out"
    for _ in range(2):
        assert shell.run("predict", run, tmp_path / "in", "--out", out) == 0
    table = pd.read_csv(out / "predictions.csv")
    assert {Path(path).name for path in table["path"]} == {path.name for path in (tmp_path / "in").iterdir()}
    assert len(list((out / "overlay").iterdir())) == 6
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("kind", ["maps", "objects"])
def test_a_file_whose_results_cannot_be_named_costs_no_others(kind: str, tmp_path: Path) -> None:
    photographs(tmp_path / "in", "a.png", f"{'b' * 250}.png", "c.png")
    out = tmp_path
    # Paths end at 4096 bytes.
    while len(str(out)) < 3880:
        out = out / ("o" * min(200, 3880 - len(str(out))))
    assert shell.run("predict", write_run(tmp_path / "run", kind), tmp_path / "in", "--out", out) == 1
    table, failed = pd.read_csv(out / "predictions.csv"), pd.read_csv(out / "failed.csv")
    assert {Path(path).name for path in table["path"]} == {"a.png", "c.png"}
    assert failed["path"].tolist() == [str(tmp_path / "in" / f"{'b' * 250}.png")]
    assert "its name is too long for the files that are made of it" in failed["reason"][0]
