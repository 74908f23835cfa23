"""Volumes in MATLAB files."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from tests.io.written import STACK, matlab, tiff
from visionlab.errors import DataError
from visionlab.io import matlab as matlab_files
from visionlab.io import open_labels, open_volume, read_image, read_labels, stored_file

LABELS = STACK[:4] % 400


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize("dtype", ["uint8", "bool", "float64", "int16", "single"])
def test_matlab_types(tmp_path: Path, version: str, dtype: str) -> None:
    stored = (np.moveaxis(STACK, 0, -1) % 2).astype(dtype)
    expected = {"uint8": "uint8", "bool": "uint8", "int16": "uint16"}.get(dtype, "float32")
    planes = (STACK % 2).astype(expected) * (255 if dtype == "bool" else 1)
    volume = open_volume(matlab(tmp_path / "a.mat", version, v=stored))
    assert volume.dtype == expected
    np.testing.assert_array_equal(volume.frame(0)[..., 0], planes)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_variables(tmp_path: Path, version: str) -> None:
    volume, labels = np.moveaxis(STACK, 0, -1), np.moveaxis(LABELS, 0, -1)
    path = matlab(tmp_path / "a.mat", version, embryo=volume, membSeg=labels)
    np.testing.assert_array_equal(open_volume(path).frame(0)[..., 0], STACK)
    assert open_volume(path, axes="TYX").axes == "TYX"
    np.testing.assert_array_equal(read_labels(path, 2), LABELS[2])
    inside = open_volume(path / "membSeg")
    assert (inside.path, inside.planes) == (path / "membSeg", 4)
    np.testing.assert_array_equal(read_image(path / "membSeg#1")[..., 0], LABELS[1])
    np.testing.assert_array_equal(read_labels(path / "embryo"), STACK)
    assert (open_labels(path).planes, open_labels(path / "embryo").planes) == (4, 5)
    assert stored_file(path / "membSeg") == stored_file(path) == path
    with pytest.raises(DataError, match=r"a\.mat: found no other; .* embryo \(12 x 20 x 5 uint16\), membSeg"):
        open_volume(path / "other")
    several = matlab(tmp_path / "b.mat", version, a=volume, b=volume)
    with pytest.raises(DataError, match=r"b\.mat: several .* a \(12 x 20 x 5 uint16\), b .* b\.mat/NAME"):
        open_volume(several)
    tiff(tmp_path / "no.mat", STACK)
    with pytest.raises(DataError, match=r"variable a of a file that isn't MATLAB's"):
        open_volume(tmp_path / "no.mat" / "a")


def test_matlab_without_volumes_is_refused(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"text": "note", "cell": np.array([1, "a"], object), "struct": {"a": 1}}, "found no volume"),
        ({"v": np.zeros((4, 5, 0))}, r"v is empty \(4 x 5 x 0\)"),
        ({"v": np.zeros((2, 2, 2, 2, 2))}, r"v is no volume \(2 x 2"),
        ({"v": np.ones((3, 3, 3)) * 1j}, "v holds complex numbers"),
    ]
    for number, (held, words) in enumerate(cases):
        scipy.io.savemat(tmp_path / f"{number}.mat", held)
        with pytest.raises(DataError, match=rf"{number}\.mat: {words}"):
            read_image(tmp_path / f"{number}.mat#0")


def test_hdf5_that_leads_elsewhere_or_was_never_written_is_refused(tmp_path: Path) -> None:
    matlab(tmp_path / "a.mat", "7.3", v=np.ones((3, 4, 5)))
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "a.mat"), "v")
        file["soft"] = h5py.SoftLink("/group/v")
        file.create_group("group")
        (tmp_path / "raw").write_bytes(bytes(64))
        file.create_dataset("out", (4, 4, 4), np.uint8, external=[(str(tmp_path / "raw"), 0, 64)])
        file["object"] = np.array([b"a"], "S1")
    with pytest.raises(DataError, match=r"b\.mat: found no volume"):
        open_volume(tmp_path / "b.mat")
    with h5py.File(tmp_path / "c.mat", "w") as file:
        file.create_dataset("v", (5, 4, 3), np.uint8, chunks=(1, 4, 3))[0] = 1
    with pytest.raises(DataError, match=r"c\.mat: 4 of 5 blocks of v were never written"):
        open_volume(tmp_path / "c.mat")


def test_empty_variables_beside_a_volume_are_no_damage(tmp_path: Path) -> None:
    matlab(tmp_path / "a.mat", "7.3", v=np.ones((3, 4, 5)))
    with h5py.File(tmp_path / "a.mat", "a") as file:
        file["zero"] = np.zeros((0, 4))
        file["null"] = h5py.Empty("f8")
    assert open_volume(tmp_path / "a.mat").shape == (5, 3, 4)
    with pytest.raises(DataError, match=r"zero is empty \(4 x 0\)"):
        open_volume(tmp_path / "a.mat" / "zero")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_file_that_vanishes_is_named(tmp_path: Path, version: str) -> None:
    path = matlab(tmp_path / "a.mat", version, v=np.ones((3, 4, 5)))
    volume = open_volume(path)
    path.unlink()
    with pytest.raises(DataError, match=r"a\.mat: "):
        volume.plane(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_a_thread_loads_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = matlab(tmp_path / "a.mat", "5", v=np.ones((3, 4, 5), np.uint8))
    begun, load = Event(), scipy.io.loadmat

    def slow(*args: Any, **options: Any) -> Any:
        begun.set()
        time.sleep(0.3)
        return load(*args, **options)

    monkeypatch.setattr(scipy.io, "loadmat", slow)
    volume = open_volume(path)
    thread = Thread(target=volume.plane, args=(0,))
    thread.start()
    begun.wait()
    child = multiprocessing.get_context("fork").Process(target=volume.plane, args=(0, 1))
    child.start()
    child.join(20)
    thread.join()
    try:
        assert child.exitcode == 0
    finally:
        child.kill()


def test_matlab_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = matlab(tmp_path / "a.mat", "7.3", v=np.moveaxis(STACK, 0, -1))
    monkeypatch.setattr(matlab_files, "_MOST", 1000)
    with pytest.raises(DataError, match="claims 12 x 20 x 5 values"):
        open_volume(path)


def test_a_volume_is_not_loaded_for_each_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [matlab(tmp_path / f"{i}.mat", "5", v=np.full((3, 4, 5), i, np.uint8)) for i in range(3)]
    loads = []
    load = scipy.io.loadmat

    def counted(path: Path, **options: Any) -> Any:
        loads.append(path)
        return load(path, **options)

    monkeypatch.setattr(scipy.io, "loadmat", counted)
    for i in (0, 0, 1, 0, 1, 2, 2, 1):
        assert (read_image(f"{paths[i]}#1") == i).all()
    assert loads == paths
