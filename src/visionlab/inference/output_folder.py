"""The folder that predictions are written into: what is ours in it, and what was finished there before.

Importing this does not import torch.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from visionlab.errors import DataError, UsageError, UserError
from visionlab.files import temporary, write_json, write_text
from visionlab.io import stored_file

PREDICTIONS, MAPS, OVERLAY, POPULATION = "predictions.csv", "maps.json", "overlay", "population"
HEADER = ("path", "name", "value", "unit")
"""Columns of ``predictions.csv``."""
DONE = ".done"
"""Folder of the records of files that are finished."""
_ABOUT = "about.json"
_OPTIONS = {"tta": "--tta", "axes": "--axes", "voxel_size": "--voxel-size", "threshold": "--threshold"}
_LONGEST = 200  # bytes of the name of a record


def prepare_output(out: Path, option: str = "--out") -> None:
    """Make a folder for predictions, named by ``option``.

    Raises:
        UsageError: it cannot be one that is written into.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = temporary(out / "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"{option} {out}: expected a folder that can be written, found: {error.strerror}") from error


def holds_predictions(folder: Path) -> bool:
    """Return whether predictions were written into a folder."""
    try:
        with (folder / PREDICTIONS).open("rb") as file:
            return file.read(64).startswith(",".join(HEADER).encode())
    except OSError:
        return (folder / DONE / _ABOUT).is_file()


def written(folder: Path) -> set[Path]:
    """Return the files and folders that predictions have written into a folder that may hold images as well."""
    found = {folder / f"{POPULATION}.png"}
    for record in (folder / DONE / "files").rglob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            found |= {folder / name for name in json.loads(record.read_text(encoding="utf-8"))["outputs"]}
    with contextlib.suppress(OSError, ValueError, TypeError):
        found |= {folder / name for name in (*json.loads((folder / MAPS).read_text(encoding="utf-8")), OVERLAY)}
    return found


def refuse_others(out: Path, names: Sequence[str]) -> None:
    """Refuse a folder with files or folders that predictions would be mixed with: they may be labels of a data set.

    Raises:
        UsageError: one of these names is there.
    """
    if others := [name for name in names if (out / name).exists()]:
        raise UsageError(f"--out {out}: found '{others[0]}' there, not from an earlier prediction; give another folder")


@contextlib.contextmanager
def fault_of(path: Path) -> Iterator[None]:
    """Turn what is the fault of one file alone, a name too long for what is made of it, into a ``DataError``."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise DataError(f"{path}: its name is too long for the files that are made of it; shorten it") from error


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a table, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    try:
        write_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def printable(text: object) -> str:
    """Return a text as it is, or escaped where a file name holds bytes that are no UTF-8."""
    return str(text).encode("utf-8", "backslashreplace").decode()


# Going on where a command stopped -------------------------------------------------------------------------------------


class OutputFolder:
    """A folder of predictions with a record of each file that is done, by which an interrupted command goes on.

    All that belongs to a file appears at once, and its record last.

    Args:
        out: the output folder.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._work = out / DONE / "work"

    def record(self, path: Path, name: str, wanted: Sequence[str]) -> dict[str, Any] | None:
        """Return the record of a file, if it is as it was then and all that was written is still there.

        Args:
            path: of the file.
            name: of its outputs.
            wanted: kinds of outputs that must have been asked for.

        Raises:
            UsageError: the outputs of this name are those of another file, which is still there.
        """
        try:
            record = json.loads(self._place(name).read_text(encoding="utf-8"))
            earlier, state = record["file"], state_of(path)
            same = earlier == state and set(wanted) <= set(record["kinds"])
        except (OSError, ValueError, TypeError, KeyError, DataError):
            return None
        if earlier[0] != state[0] and stored_file(earlier[0]).is_file():
            raise UsageError(
                f"--out {self.out}: {name} is what was predicted of {earlier[0]}, and would be replaced by that of "
                f"{path}; give another folder, or name both in one command"
            )
        # One that was changed by hand, or in another version, is none.
        there = same and all((self.out / output).is_file() for output in record["outputs"])
        return dict(record) if there else None

    def objects(self, name: str) -> Path:
        """Return the table of the objects of a file."""
        return self._place(name).with_suffix(".csv")

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """Give an empty folder for the outputs of a file, named as they will be below the output folder."""
        self._work.mkdir(parents=True)
        try:
            yield self._work
        finally:
            shutil.rmtree(self._work, ignore_errors=True)

    def keep(self, name: str, state: Sequence[Any], kinds: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any]:
        """Move what is in the work folder to where it belongs, then write the record of a file, and return it.

        Args:
            name: of its outputs.
            state: of the file before it was read, see :func:`state_of`.
            kinds: of outputs that were asked for.
            record: what else to remember.
        """
        self._place(name).unlink(missing_ok=True)
        files = sorted(file.relative_to(self._work) for file in self._work.rglob("*") if file.is_file())
        for file in files:
            (self.out / file).parent.mkdir(parents=True, exist_ok=True)
            (self._work / file).replace(self.out / file)
        kept = {**record, "file": list(state), "kinds": list(kinds), "outputs": [file.as_posix() for file in files]}
        write_json(self._place(name), kept)
        return kept

    def _place(self, name: str) -> Path:
        above, _, last = name.rpartition("/")
        if len(os.fsencode(last)) > _LONGEST:
            last = hashlib.blake2b(os.fsencode(last), digest_size=16).hexdigest()
        # Not with_suffix: names may hold dots.
        return self.out / DONE / "files" / above / f"{last}.json"


@contextlib.contextmanager
def open_output(
    out: Path, checkpoints: Sequence[Path], options: Mapping[str, Any], folders: Sequence[str]
) -> Iterator[OutputFolder]:
    """Open an output folder, which is this command's alone meanwhile.

    Args:
        out: the output folder, which is there.
        checkpoints: of the models.
        options: that results depend on, of the command line: name -> text, None where it was not given.
        folders: that will be written there.

    Raises:
        UsageError: another command is writing there, its results come of other models or options, or there are folders
            of these names that no earlier prediction has made.
    """
    place = out / DONE
    about = {"models": {str(path): _digest(path) for path in checkpoints}, **options}
    if not (place / _ABOUT).is_file():
        refuse_others(out, folders)
        place.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(place / "lock", timeout=0))
        except Timeout as error:
            raise UsageError(
                f"--out {out}: another prediction is writing there; wait for it, or give another folder"
            ) from error
        _refuse_mixture(place / _ABOUT, about, out)
        shutil.rmtree(place / "work", ignore_errors=True)
        for part in out.glob(".*.*.part"):
            part.unlink(missing_ok=True)  # of a command that was killed
        write_json(place / _ABOUT, about)
        yield OutputFolder(out)


def _refuse_mixture(path: Path, about: Mapping[str, Any], out: Path) -> None:
    if not path.is_file():
        return
    try:
        earlier = dict(json.loads(path.read_text(encoding="utf-8")))
        models = dict(earlier["models"])
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(f"--out {out}: its {DONE}/{path.name} is damaged; give another folder") from None
    found = []
    if list(models.values()) != list(about["models"].values()):
        same = list(models) == list(about["models"])
        found.append(f"{', '.join(models)}{', which has changed since' if same else ''}")
    for key, option in _OPTIONS.items():
        was, now = earlier.get(key), about.get(key)
        if was != now:
            found.append(
                f"{f'{option} {was}' if was is not None else f'no {option}'} (now {now if now is not None else 'none'})"
            )
    if found:
        raise UsageError(
            f"--out {out}: what is there was predicted with {' and '.join(found)}; give another folder, or remove it"
        )


def state_of(path: Path) -> list[Any]:
    """Return what tells whether a file is still the same.

    Raises:
        DataError: it is not there any more.
    """
    try:
        state = stored_file(path).stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); was it removed meanwhile?") from None
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
