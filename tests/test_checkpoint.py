"""Checkpoints are files from anywhere: nothing in them runs, and nothing in them ends in a traceback."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import visionlab
from tests import shell
from tests.untrained import labels, numbers, write_run
from visionlab.errors import DataError, UsageError
from visionlab.heads.labels.head import MultilabelHead
from visionlab.inference.checkpoint import read_checkpoint
from visionlab.inference.files import find_checkpoint
from visionlab.modules.task_model import ORIGIN


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def original(tiny_run: Path) -> dict[str, Any]:
    """The content of a real checkpoint."""
    content: dict[str, Any] = torch.load(tiny_run / "checkpoints" / "best.ckpt", weights_only=True)
    return content


@pytest.fixture
def saved(original: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a changed copy of the real checkpoint."""

    def save(change: Callable[[dict[str, Any]], Any]) -> Path:
        content = copy.deepcopy(original)
        result = change(content)
        torch.save(content if result is None else result, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return save


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        visionlab.load(path, device="cpu")
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_it_holds_what_prediction_needs_and_no_more(original: dict[str, Any]) -> None:
    assert {"visionlab", "state_dict"} <= set(original)
    assert not {"optimizer_states", "loops", "callbacks", "lr_schedulers"} & set(original)
    assert not set(ORIGIN) & set(original["visionlab"]["network"]["options"])


def test_a_saved_copy_predicts_the_same(
    tiny_run: Path, focus_root: Path, saved: Callable[..., Path], original: dict[str, Any]
) -> None:
    image = next((focus_root / "images").iterdir())
    one = visionlab.load(tiny_run, device="cpu").predict(image)
    assert visionlab.load(saved(lambda content: None), device="cpu").predict(image) == one


@pytest.mark.parametrize("where", ["visionlab", "state_dict", "more"])
def test_pickled_objects_are_refused_and_not_run(where: str, saved: Callable[..., Path], tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = saved(lambda content: content.update({where: Malicious(made)}))
    assert "could run code, so it is refused" in refusal(path)
    assert not made.exists()
    # The file does what it is feared for: loaded the old way it runs.
    torch.load(path, weights_only=False)
    assert made.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_bare_pickles_are_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "bare.ckpt"
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "made"), protocol=protocol))
    assert "truncated, damaged or other file" in refusal(path)
    assert not (tmp_path / "made").exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "module.ckpt"
    torch.save({"visionlab": {}, "state_dict": torch.nn.Linear(2, 2)}, path)
    assert "other objects" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files_are_refused(share: float, tiny_run: Path, tmp_path: Path) -> None:
    content = (tiny_run / "checkpoints" / "best.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated, damaged or other file" in refusal(path)


def test_damaged_bytes_never_end_in_a_traceback(tiny_run: Path, tmp_path: Path) -> None:
    content = np.frombuffer((tiny_run / "checkpoints" / "best.ckpt").read_bytes(), np.uint8)
    path = tmp_path / "damaged.ckpt"
    # The beginning holds the description, the end the archive's table; the middle is weights, any bytes of which are.
    places = [*range(0, 3000, 250), *range(len(content) - 3000, len(content), 250)]
    for place in places:
        changed = content.copy()
        changed[place : place + 40] ^= 0xA5
        path.write_bytes(changed.tobytes())
        try:
            visionlab.load(path, device="cpu")
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("content", [b"text", b"\x00" * 1000, b"PK\x03\x04" + b"\x00" * 100, bytes(range(256)) * 20])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    refusal(path)


def test_other_archives_are_refused(saved: Callable[..., Path], tmp_path: Path) -> None:
    other = tmp_path / "other.ckpt"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("notes.txt", "text")
    assert "damaged or other file" in refusal(other)
    # Compressed, a small file could fill the memory.
    packed = tmp_path / "packed.ckpt"
    original = saved(lambda content: None)
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, source.read(entry))
    assert "compressed archive" in refusal(packed)


def test_tensors_without_description_are_refused(saved: Callable[..., Path]) -> None:
    assert "without its description" in refusal(saved(lambda content: content["state_dict"]))
    assert "without its description" in refusal(saved(lambda content: [1, 2]))


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_other_formats_are_refused(version: Any, saved: Callable[..., Path]) -> None:
    path = saved(lambda content: content["visionlab"].update(format=version))
    assert f"expected checkpoint format 2, found {version}" in refusal(path)


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *way, last = key.split("/")
        node = content
        for part in way:
            node = node[part]
        node[last] = value

    return change


def _forget(key: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *way, last = key.split("/")
        node = content
        for part in way:
            node = node[part]
        del node[last]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("visionlab", 3), "format 2, found None"),
        (_set("visionlab/network", None), "network.name: expected str"),
        (_set("visionlab/network/name", "resnet43"), "resnet43"),
        (_set("visionlab/network/name", "os.system"), "os.system"),
        (_set("visionlab/network/name", "resnet18"), "tensors differ"),
        (_set("visionlab/network/options", {"pretrained": True}), "network.options"),
        (_set("visionlab/network/options", {"weights": "/etc/passwd"}), "network.options"),
        (_set("visionlab/network/options", {"act": "relu"}), "model.act: unknown key"),
        (_set("visionlab/network/options", {"hidden": [10**9, 10**9]}), "tensors differ"),
        (_set("visionlab/network/options", {"hidden": [-1]}), "fit together"),
        (_set("visionlab/network/in_channels", 10**7), "preprocess.channels"),
        (_set("visionlab/network/in_channels", 10**30), "network.in_channels: expected a number"),
        (_set("visionlab/network/in_channels", -1), "network.in_channels: expected a number from 1"),
        (_set("visionlab/network/in_channels", 0), "network.in_channels: expected a number from 1"),
        (_set("visionlab/network/in_channels", 2.5), "network.in_channels: expected int"),
        (_set("visionlab/network/in_channels", True), "network.in_channels: expected int"),
        (_set("visionlab/network/out_channels", 10**9), "network.out_channels: expected a number from 1"),
        (_set("visionlab/network/out_channels", 2), "as many different columns"),
        (_set("visionlab/network/out_channels", -5), "network.out_channels"),
        (_set("visionlab/heads", {}), "heads: expected as many"),
        (_set("visionlab/heads", {"distance": 1}), "heads.distance: expected a mapping"),
        (_set("visionlab/heads/distance/kind", "os.system"), "heads.distance.kind: expected one of regression"),
        (_set("visionlab/heads/distance/columns", [1]), "heads.distance.columns"),
        (_set("visionlab/heads/distance/columns", ["a", "b"]), "as many different columns"),
        (_set("visionlab/heads/distance/metrics", [["mae"]]), "heads.distance.metrics"),
        (_set("visionlab/heads/distance/unit", 3), "heads.distance.unit: expected str"),
        (_set("visionlab/heads/distance/activation", "sigmoid"), "heads.distance.activation: expected one of none"),
        (_forget("visionlab/heads/distance/activation"), "heads.distance.activation: expected str, found None"),
        (_set("visionlab/inputs", []), "inputs: expected different names, the first image, found []"),
        (_set("visionlab/inputs", ["background"]), "inputs: expected different names, the first image"),
        (_set("visionlab/inputs", ["image", "image"]), "inputs: expected different names"),
        (_set("visionlab/inputs", ["image", 3]), "inputs: expected different names"),
        (_set("visionlab/inputs", "image"), "inputs: expected list, found image"),
        (_set("visionlab/inputs", ["image", "background"]), "expected as many as the network takes, found 2"),
        (_forget("visionlab/inputs"), "inputs: expected list, found None"),
        (_set("visionlab/normalize", "batch"), "normalize: expected one of dataset, image"),
        (_set("visionlab/preprocess/fit", "fill"), "preprocess.fit: expected one of crop"),
        (_set("visionlab/preprocess/dtype", "object"), "preprocess.dtype: expected one of uint8"),
        (_set("visionlab/preprocess/height", 10**9), "preprocess"),
        (_set("visionlab/preprocess/width", -32), "preprocess.width"),
        (_set("visionlab/preprocess/channels", 3), "preprocess.channels: expected as many as the network"),
        (_forget("visionlab/preprocess/height"), "preprocess.height: expected int, found None"),
        (_forget("visionlab/data/fingerprint"), "data.fingerprint"),
        (
            _forget("visionlab/heads/distance/step"),
            "heads.distance.step: expected int or float or NoneType, found None",
        ),
        (_set("state_dict", {}), "tensors differ"),
        (_set("state_dict", [1]), "weights: expected tensors by name"),
        (_set("state_dict/model.network.head.1.weight", torch.zeros(3, 5)), "head.1.weight: expected 1 x"),
        (_set("state_dict/model.network.head.1.weight", 3), "weights: expected tensors by name"),
        (_set("state_dict/model.more", torch.zeros(2)), "more: expected none, found 2"),
        (_set("state_dict/model.normalizer.mean", torch.zeros(1, 3, 1, 1)), "normalizer.mean: expected 1 x 1 x 1 x 1"),
        # Much made of little: a million megabytes by a stride of 0.
        (_set("state_dict/model.network.head.1.weight", torch.zeros(1).expand(10**12)), "weights: expected at most"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], None], expected: str, saved: Callable[..., Path]
) -> None:
    assert expected in refusal(saved(change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set("visionlab/heads/labels/ids", [0, 1, 2, 16, 16]), "heads.labels.ids: expected a different number"),
        (_set("visionlab/heads/labels/ids", [0, 1, 2, 16, -1]), "heads.labels.ids: expected a different number"),
        # The absent ones of so many classes would be listed.
        (_set("visionlab/heads/labels/ids", [0, 1, 2, 16, 10**18]), "heads.labels.ids: expected a different number"),
        (_set("visionlab/heads/labels/ids", [0, 1]), "heads.labels.ids: expected a different number"),
        (_set("visionlab/heads/labels/thresholds", "best"), "heads.labels.thresholds: expected f1"),
        (_set("visionlab/heads/labels/calibration", "os.system"), "heads.labels.calibration: expected one of none"),
        (_set("state_dict/model.heads.labels.thresholds", torch.full((5,), torch.inf)), "thresholds: expected fin"),
        (_set("state_dict/model.heads.labels.calibration", torch.full((5, 2), torch.nan)), "calibration: expected fin"),
        (_set("state_dict/model.heads.labels.total", torch.tensor(torch.nan)), "heads.labels.total: expected finite"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], None], expected: str, tmp_path: Path
) -> None:
    path = write_run(tmp_path, [labels(thresholds=[0.1, 0.2, float("nan"), 0.4, 0.5])]) / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    assert expected in refusal(path)


def test_labels_need_a_class(tmp_path: Path) -> None:
    heads = [MultilabelHead("labels", [], ids=[], positives=[], total=1.0), numbers("distance")]
    assert "heads.labels.columns: expected at least one" in refusal(
        write_run(tmp_path, heads) / "checkpoints" / "best.ckpt"
    )


def test_a_damaged_checkpoint_ends_the_command_with_a_sentence(
    tiny_run: Path, focus_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes((tiny_run / "checkpoints" / "best.ckpt").read_bytes()[:5000])
    assert shell.run("predict", path, focus_root, "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err.startswith(f"error: {path}: expected a checkpoint, found a truncated")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_checkpoint_of_a_folder_is_the_best(tiny_run: Path, tmp_path: Path, caplog: Any) -> None:
    best = tiny_run / "checkpoints" / "best.ckpt"
    assert {find_checkpoint(path) for path in (tiny_run, best, best.parent)} == {best}
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "checkpoints" / "best.ckpt").unlink()
    assert find_checkpoint(run).name == "last.ckpt"
    assert "there is no best.ckpt yet; last.ckpt is used" in caplog.text
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UsageError, match="stopped before its first epoch ended"):
        find_checkpoint(run)


def test_what_has_no_checkpoint_is_refused_with_a_hint(tiny_run: Path, focus_root: Path) -> None:
    with pytest.raises(UsageError, match=r"found nothing there. Did you mean 'tiny'"):
        find_checkpoint(tiny_run.with_name("tini"))
    with pytest.raises(UsageError, match=rf"found neither. It holds runs, such as {tiny_run}"):
        find_checkpoint(tiny_run.parent)
    with pytest.raises(UsageError, match=r"found neither$"):
        find_checkpoint(focus_root)


def test_reading_the_last_checkpoint_checks_it_too(tiny_run: Path) -> None:
    content = read_checkpoint(tiny_run / "checkpoints" / "last.ckpt")
    assert content["global_step"] > 0
