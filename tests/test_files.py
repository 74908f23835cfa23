"""Files are written whole, under names of any length; a folder that isn't one is named with the way out."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests import shell
from visionlab.errors import DataError
from visionlab.files import check_folder, left_behind, new_folder, read_json, temporary, write_bytes
from visionlab.io import StackWriter, Volume


def test_names_may_be_as_long_as_the_file_system_takes_them(tmp_path: Path) -> None:
    """A temporary name that is made of a file's own is longer than that."""
    for letters in ("a" * 251, "ä" * 125):
        path = tmp_path / f"{letters}.tif"
        write_bytes(path, b"1")
        with new_folder(path.with_suffix("")) as part:
            (part / "in it").touch()
        assert (path.with_suffix("") / "in it").is_file()
        like = Volume(path, "YX", (4, 5), "uint8", (None, None, None), None, "image")
        with StackWriter(path, like, np.uint8) as writer:
            writer.write(np.ones((1, 4, 5), np.uint8))
    assert len(list(tmp_path.iterdir())) == 4


def test_nothing_is_left_after_an_error_and_what_was_left_is_found(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "a"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())
    names = {temporary(tmp_path / name) for name in ("a", "a", "b")}
    for name in names:
        name.touch()
    assert len(names) == 3
    assert len(list(left_behind(tmp_path / "a"))) == 2


@pytest.mark.parametrize("name", ["d.zip", "d.tar", "d.tgz", "my d;ü.tar.gz", "d.7z", "d.rar"])
def test_an_archive_is_named_with_the_command_that_unpacks_it(tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    (tmp_path / "a.png").touch()
    if ".t" in name:
        with tarfile.open(archive, "w:gz" if "gz" in name else "w") as file:
            file.add(tmp_path / "a.png", "a.png")
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(tmp_path / "a.png", "a.png")
    with pytest.raises(DataError, match=r"expected a folder with images, found an archive; unpack it: ") as caught:
        check_folder(archive, "images")
    command = str(caught.value).partition("unpack it: ")[2]
    assert str(archive) in command
    if ".t" in name:
        subprocess.run(command, shell=True, check=True)
        folder = archive.with_name(name.partition(".")[0])
        assert [path.name for path in check_folder(folder, "images").iterdir()] == ["a.png"]


def test_the_command_line_says_it_before_anything_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w"):
        pass
    where = f"data.root={tmp_path / 'd.zip'}"
    assert shell.run("train", "task=focus", where, f"hydra.run.dir={tmp_path / 'run'}") == 2
    said = capsys.readouterr().err
    assert (
        f"found the archive '{tmp_path / 'd.zip'}'; unpack it: unzip {tmp_path / 'd.zip'} -d {tmp_path / 'd'}" in said
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", "\udcff", None])
def test_damaged_json_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=r"run.json: expected"):
        read_json(path)
