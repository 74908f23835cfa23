from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from visionlab.data import preprocess
from visionlab.data.cache import Cache, build, fingerprint
from visionlab.data.preprocess import ImageReader, Preprocess
from visionlab.errors import DataError
from visionlab.files import temporary
from visionlab.io import read_image

Write = Callable[[Path, object], None]
PREPROCESS = Preprocess(1, 16, 16, "crop", "uint8")


def some(root: Path, write_png: Write, dtype: type = np.uint8, count: int = 5) -> list[str]:
    rng = np.random.default_rng(0)
    for i in range(count):
        # Different sizes: the cache must keep them apart.
        write_png(root / f"{i}.png", rng.integers(0, np.iinfo(dtype).max, (16, 16 + 4 * i), dtype=dtype))
    return [f"{i}.png" for i in range(count)]


def test_arrays_equal_the_files(tmp_path: Path, write_png: Write) -> None:
    paths = some(tmp_path / "data", write_png)
    cache = build(paths, tmp_path / "data", PREPROCESS, tmp_path / "cache", "t", ImageReader())
    assert len(cache) == 5
    for i, path in enumerate(paths):
        assert np.array_equal(cache[i], read_image(tmp_path / "data" / path))
    assert cache.facts["width"].tolist() == [16, 20, 24, 28, 32]
    assert cache.facts["hash"].nunique() == 5


def test_fingerprint_follows_files_and_settings(tmp_path: Path, write_png: Write) -> None:
    root = tmp_path / "data"
    paths = some(root, write_png)
    base = fingerprint(paths, root, PREPROCESS, ImageReader())
    assert fingerprint(paths, root, PREPROCESS, ImageReader()) == base
    assert fingerprint(paths, root, Preprocess(1, 16, 17, "crop", "uint8"), ImageReader()) != base
    assert fingerprint(paths, root, Preprocess(1, 16, 16, "pad", "uint8"), ImageReader()) != base
    assert fingerprint(paths[:4], root, PREPROCESS, ImageReader()) != base
    assert fingerprint(paths[::-1], root, PREPROCESS, ImageReader()) != base
    os.utime(root / "2.png", ns=(1, 1))
    assert fingerprint(paths, root, PREPROCESS, ImageReader()) != base


def test_sixteen_bits_are_kept_and_mixed_depths_meet_at_sixteen(tmp_path: Path, write_png: Write) -> None:
    paths = some(tmp_path / "deep", write_png, np.uint16)
    cache = build(paths, tmp_path / "deep", PREPROCESS, tmp_path / "cache", "t", ImageReader())
    assert cache[0].dtype == np.uint16
    write_png(tmp_path / "deep" / "8bit.png", np.full((16, 16), 200, np.uint8))
    mixed = build([*paths, "8bit.png"], tmp_path / "deep", PREPROCESS, tmp_path / "cache", "t", ImageReader())
    assert (mixed[5] == 200 * 257).all()
    assert mixed.preprocess.dtype == "uint16"


def test_every_bad_file_is_named_and_nothing_is_left(tmp_path: Path, write_png: Write) -> None:
    root = tmp_path / "data"
    paths = some(root, write_png)
    for name in ("1.png", "3.png"):
        (root / name).write_bytes((root / name).read_bytes()[:-20])
    with pytest.raises(DataError, match=r"(?s)2 file\(s\).*1\.png.*3\.png.*prepare"):
        build(paths, root, PREPROCESS, tmp_path / "cache", "t", ImageReader())
    assert not [entry for entry in (tmp_path / "cache").iterdir() if entry.suffix != ".lock"]


def test_room_is_looked_for_before_anything_is_decoded(
    tmp_path: Path, write_png: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    paths = some(root, write_png)
    need = sum(read_image(root / path).size for path in paths)
    free = [need - 1, need]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free.pop(0)))
    with pytest.raises(DataError, match=r"cache: the cache needs .* GB, found .* GB free; .*data\.cache_dir"):
        build(paths, root, PREPROCESS, tmp_path / "cache", "t", ImageReader())
    build(paths, root, PREPROCESS, tmp_path / "cache", "t", ImageReader())


def test_builders_at_the_same_time_decode_once(
    tmp_path: Path, write_png: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = some(tmp_path / "data", write_png)
    decoded = []

    def count(path: Path, *stains: Any) -> Any:
        decoded.append(path)
        return read_image(path, *stains)

    monkeypatch.setattr(preprocess, "read_image", count)
    results: list[Cache] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(
                build(paths, tmp_path / "data", PREPROCESS, tmp_path / "cache", "t", ImageReader())
            )
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len(decoded) == len(paths)


def test_what_a_killed_builder_left_is_removed(tmp_path: Path, write_png: Write) -> None:
    paths = some(tmp_path / "data", write_png)
    whole = tmp_path / "cache" / f"t-{fingerprint(paths, tmp_path / 'data', PREPROCESS, ImageReader())}"
    left = temporary(whole)
    for folder in (whole, left):
        folder.mkdir(parents=True)
        (folder / "images.bin").write_bytes(b"half")
    assert len(build(paths, tmp_path / "data", PREPROCESS, tmp_path / "cache", "t", ImageReader())) == 5
    assert not left.exists()


@pytest.mark.parametrize("place", [0.1, 0.5, 0.95])
def test_other_pixels_of_the_same_size_and_time_are_seen(tmp_path: Path, place: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((16, 20), np.uint8))
    folder = tmp_path / "cache"
    first = build(["a.tif"], tmp_path, PREPROCESS, folder, "t", ImageReader())
    _change(tmp_path / "a.tif", round(place * 320))
    again = build(["a.tif"], tmp_path, PREPROCESS, folder, "t", ImageReader())
    assert again.folder != first.folder
    assert again.facts["hash"].item() != first.facts["hash"].item()


def test_a_change_between_the_parts_that_are_read_is_seen_where_all_is_read(tmp_path: Path) -> None:
    preprocess = replace(PREPROCESS, fit="native")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((200, 200), np.uint8))
    folder = tmp_path / "cache"
    first = build(["a.tif"], tmp_path, preprocess, folder, "t", ImageReader())
    assert first[0].max() == 0
    _change(tmp_path / "a.tif", 10_000)
    assert build(["a.tif"], tmp_path, preprocess, folder, "t", ImageReader())[0].max() == 0
    assert build(["a.tif"], tmp_path, preprocess, folder, "t", ImageReader(), verify=True)[0].max() == 1
    # What was made anew is what every run reads from then on, and is left alone.
    written = (first.folder / "images.bin").stat().st_mtime_ns
    for verify in (False, True):
        assert build(["a.tif"], tmp_path, preprocess, folder, "t", ImageReader(), verify=verify)[0].max() == 1
    assert (first.folder / "images.bin").stat().st_mtime_ns == written


def _change(path: Path, offset: int) -> None:
    """Change a pixel of an uncompressed image, by its number, in place; the file keeps its times."""
    state = path.stat()
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start + offset)
        file.write(b"\1")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
