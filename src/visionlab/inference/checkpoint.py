"""Reading checkpoints: tensors and plain data only, checked before use."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from visionlab import models
from visionlab.data.channels import parse
from visionlab.errors import ConfigError, DataError, UsageError, UserError
from visionlab.files import IMAGE
from visionlab.heads import KINDS, head_class
from visionlab.heads.head import expect
from visionlab.io import MAX_VALUES
from visionlab.modules.task_model import FORMAT, ORIGIN, TaskModel

FITS = ("crop", "pad", "stretch", "native")
SCALES = ("dtype", "percentile")
# Planes on each side that a network may see beside its own.
MAX_NEIGHBOURS = 32

_Kinds = type | tuple[type, ...]
# What a description holds: dotted key -> type. Keys that later versions add are left alone.
_DESCRIPTION: dict[str, _Kinds] = {
    "task": str,
    "module": str,
    "normalize": str,
    "inputs": list,
    "network.name": str,
    "network.in_channels": int,
    "network.out_channels": int,
    "network.options": dict,
    "heads": dict,
    "preprocess.channels": int,
    "preprocess.height": int,
    "preprocess.width": int,
    "preprocess.fit": str,
    "preprocess.dtype": str,
    "data.name": str,
    "data.synthetic": bool,
    "data.fingerprint": str,
}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content: tensors and plain data; nothing pickled is ever loaded.

    Raises:
        DataError: the file is damaged, holds more than tensors and plain data, or is not one of visionlab's.
    """
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path}: expected tensors and plain data only, found other objects; it is not a visionlab checkpoint, "
            "and loading it could run code, so it is refused"
        ) from error
    # A damaged file makes the reader raise nearly anything (RuntimeError, EOFError, KeyError, TypeError, ...).
    except Exception as error:
        raise DataError(
            f"{path}: expected a checkpoint, found a damaged or other file ({_first_line(error)})"
        ) from error
    if not isinstance(content, dict) or "visionlab" not in content or "state_dict" not in content:
        raise DataError(f"{path}: expected a visionlab checkpoint, found a file of tensors without its description")
    description = content["visionlab"]
    version = description.get("format") if isinstance(description, dict) else None
    if version != FORMAT:
        raise DataError(
            f"{path}: expected checkpoint format {FORMAT}, found {version}; use the visionlab that wrote it"
        )
    try:
        _check_description(description)
        _check_weights(content["state_dict"], path.stat().st_size)
    except ValueError as error:
        raise DataError(f"{path}: not a visionlab checkpoint, or changed by hand: {error}") from error
    return content


def rebuild(path: Path, content: dict[str, Any], trust: Sequence[str] = ()) -> TaskModel:
    """Return the model of a checkpoint with its weights.

    Args:
        path: of the file, for messages.
        content: see :func:`read_checkpoint`.
        trust: packages of which the network may be; no file says so itself.

    Raises:
        UsageError: the network is of a package that isn't trusted.
        DataError: the weights are not those of the network that is described.
    """
    # Beside the model's there may be weights that balanced the losses of the heads.
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith("model.")
    }
    description = content["visionlab"]
    target = str(description["network"]["options"].get("_target_", ""))
    if target and (package := target.partition(".")[0]) not in trust:
        raise UsageError(
            f"{path}: its network is {target}, whose code would run; if you trust that package, give trust=[{package}]"
        )
    try:
        if not target:
            _check_kinds(description["network"]["name"], description["heads"])
        # First without memory: a description that asks for more than the file holds is refused before it gets any.
        with torch.device("meta"):
            expected = TaskModel.from_spec(description, trust).state_dict()
        _compare(expected, weights)
        model = TaskModel.from_spec(description, trust)
        model.load_state_dict(weights)
        _check_numbers(model.heads.state_dict())
    except (UserError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: its description and its weights do not fit together: {_first_line(error)}") from error
    return model.eval()


def _check_archive(path: Path) -> None:
    """Refuse what is not, by its table of contents, a whole file as torch writes it: a ZIP archive, not compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a checkpoint, found a truncated, damaged or other file ({error})") from error
    size = path.stat().st_size
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        # Unpacked it could fill the memory.
        raise DataError(f"{path}: expected a checkpoint, found a compressed archive")


def _check_description(description: dict[str, Any]) -> None:
    """Check what the rest of the code relies on.

    Raises:
        ValueError: naming the key.
    """
    _check_types(description, _DESCRIPTION, "")
    for key in ("network.in_channels", "network.out_channels", "preprocess.height", "preprocess.width"):
        value = _select(description, key)
        expect(0 < value <= MAX_VALUES, key, f"a number from 1 to {MAX_VALUES}", value)
    network, preprocess, heads = description["network"], description["preprocess"], description["heads"]
    origin = [name for name in ORIGIN if name in network["options"]]
    expect(not origin, "network.options", "what the network is, not where weights come from", origin)
    inputs = description["inputs"]
    named = all(isinstance(name, str) for name in inputs) and inputs[:1] == [IMAGE] and len(set(inputs)) == len(inputs)
    expect(named, "inputs", f"different names, the first {IMAGE}", inputs)
    # Earlier versions knew only images of one file.
    stains = description.setdefault("channels", [])
    right = isinstance(stains, list) and all(isinstance(item, str) for item in stains)
    expect(right, "channels", "names of the files that hold a channel each", stains)
    if right and stains:
        try:
            parse(stains)
        except ConfigError as error:
            raise ValueError(f"channels: {error}") from error
    expect(len(stains) in (0, preprocess["channels"]), "channels", f"{preprocess['channels']} or none", stains)
    # Earlier versions saw each image by itself.
    neighbours = description.setdefault("neighbours", 0)
    right = isinstance(neighbours, int) and not isinstance(neighbours, bool) and 0 <= neighbours <= MAX_NEIGHBOURS
    expect(right, "neighbours", f"a number from 0 to {MAX_NEIGHBOURS}", neighbours)
    scale = preprocess.setdefault("scale", "dtype")
    expect(scale in SCALES, "preprocess.scale", f"one of {', '.join(SCALES)}", scale)
    seen = preprocess.get("stains", [])
    right = isinstance(seen, list) and all(isinstance(item, int | str) and not isinstance(item, bool) for item in seen)
    expect(right, "preprocess.stains", "numbers or names of channels", seen)
    expect(len(seen) in (0, 1, preprocess["channels"]), "preprocess.stains", "as many as channels", seen)
    found = preprocess["channels"] * len(inputs) * (2 * neighbours + 1)
    expect(found == network["in_channels"], "preprocess.channels", "as many as the network takes", found)
    values = preprocess["channels"] * preprocess["height"] * preprocess["width"]
    expect(values <= MAX_VALUES, "preprocess", f"images of at most {MAX_VALUES} values", values)
    expect(preprocess["fit"] in FITS, "preprocess.fit", f"one of {', '.join(FITS)}", preprocess["fit"])
    dtypes = ("uint8", "uint16", "float32")
    expect(preprocess["dtype"] in dtypes, "preprocess.dtype", f"one of {', '.join(dtypes)}", preprocess["dtype"])
    modes = ("dataset", "image")
    expect(description["normalize"] in modes, "normalize", f"one of {', '.join(modes)}", description["normalize"])
    columns = _check_heads(heads)
    several = "as many different columns as the network has channels out"
    expect(len(set(columns)) == len(columns) == network["out_channels"], "heads", several, columns)


def _check_heads(heads: dict[str, Any]) -> list[str]:
    """Check each head by itself; return the columns of all."""
    columns: list[str] = []
    for name, head in heads.items():
        key = f"heads.{name}"
        expect(isinstance(head, dict), key, "a mapping", head)
        # It becomes the name of a folder of predictions.
        expect(isinstance(name, str) and name.isidentifier(), "heads", "names of letters, digits and _", name)
        known = isinstance(head.get("kind"), str) and head["kind"] in KINDS
        expect(known, f"{key}.kind", f"one of {', '.join(KINDS)}", head.get("kind"))
        head_class(head["kind"]).check_spec(name, head)
        columns += head["columns"]
    return columns


def _check_types(node: dict[str, Any], kinds: dict[str, _Kinds], where: str) -> None:
    for key, kind in kinds.items():
        value = _select(node, key)
        right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        names = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        expect(right, where + key, names, value)


def _select(node: Any, key: str) -> Any:
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _check_weights(weights: Any, size: int) -> None:
    """Check that the weights are tensors by name, and no larger than the file: strides can make much of little."""
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    expect(named and all(isinstance(t, torch.Tensor) for t in weights.values()), "weights", "tensors by name", "others")
    expect(
        sum(t.numel() * t.element_size() for t in weights.values()) <= size, "weights", f"at most {size} bytes", "more"
    )


def _check_kinds(network: str, heads: dict[str, Any]) -> None:
    """Check that a network of vectors has heads of vectors, and one of maps heads of maps."""
    kind = models.lookup(network).kind
    for name, head in heads.items():
        right = KINDS[head["kind"]].dense == (kind == "dense")
        expect(right, f"heads.{name}.kind", f"one for a network of kind '{kind}'", head["kind"])


def _compare(expected: dict[str, Any], found: dict[str, Any]) -> None:
    wrong = [
        f"{name}: expected {_shape(expected, name)}, found {_shape(found, name)}"
        for name in dict.fromkeys((*expected, *found))
        if _shape(expected, name) != _shape(found, name)
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(expected)} tensors differ, the first is {wrong[0]}")


def _check_numbers(of_heads: dict[str, torch.Tensor]) -> None:
    """Check what heads scale, calibrate and decide by; a class without a threshold has NaN there."""
    for name, values in of_heads.items():
        finite = values.nan_to_num(0, torch.inf, -torch.inf) if name.endswith(".thresholds") else values
        expect(bool(finite.isfinite().all()), f"heads.{name}", "finite numbers", values.tolist())


def _shape(tensors: dict[str, Any], name: str) -> str:
    return " x ".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "none"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
