"""Reading checkpoints: tensors and plain data only, checked before use."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from visionlab import models
from visionlab.data.channels import parse
from visionlab.errors import ConfigError, DataError, UsageError, UserError
from visionlab.files import IMAGE
from visionlab.heads import KINDS, head_class
from visionlab.io import MAX_VALUES
from visionlab.modules.task_model import FORMAT, ORIGIN, TaskModel

Side = Annotated[int, Field(ge=1, le=MAX_VALUES)]


class _Part(BaseModel):
    # Keys that later versions add are left alone.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class NetworkDescription(_Part):
    """The network, as :func:`visionlab.models.build` takes it."""

    name: str
    in_channels: Side
    out_channels: Side
    options: dict[str, Any]

    @field_validator("options")
    @classmethod
    def _without_origin(cls, options: dict[str, Any]) -> dict[str, Any]:
        origin = [name for name in ORIGIN if name in options]
        _expect(not origin, "what the network is, not where weights come from", origin)
        return options


class PreprocessDescription(_Part):
    """What is done to every image, see :class:`visionlab.data.preprocess.Preprocess`."""

    channels: int
    height: Side
    width: Side
    fit: Literal["crop", "pad", "stretch", "native"]
    dtype: Literal["uint8", "uint16", "float32"]
    scale: Literal["dtype", "percentile"] = "dtype"
    stains: list[int | str] = []

    @model_validator(mode="after")
    def _of_one_size(self) -> Self:
        values = self.channels * self.height * self.width
        _expect(values <= MAX_VALUES, f"images of at most {MAX_VALUES} values", values)
        _expect(len(self.stains) in (0, 1, self.channels), "as many stains as channels", self.stains)
        return self


class DataDescription(_Part):
    """The data that the model was trained on."""

    name: str
    synthetic: bool
    fingerprint: str


class Description(_Part):
    """What a checkpoint says of its model, beside the weights.

    Raises:
        pydantic.ValidationError: a key is missing, of another type, out of its bounds, or doesn't fit the others.
    """

    task: str
    module: str
    normalize: Literal["dataset", "image"]
    inputs: list[str]
    network: NetworkDescription
    # Each is checked by its kind.
    heads: dict[str, dict[str, Any]]
    preprocess: PreprocessDescription
    data: DataDescription
    # Earlier versions knew only images of one file, each by itself.
    channels: list[str] = []
    neighbours: Annotated[int, Field(ge=0, le=32)] = 0

    @field_validator("inputs")
    @classmethod
    def _image_first(cls, inputs: list[str]) -> list[str]:
        _expect(
            inputs[:1] == [IMAGE] and len(set(inputs)) == len(inputs), f"different names, the first {IMAGE}", inputs
        )
        return inputs

    @field_validator("heads")
    @classmethod
    def _known_kinds(cls, heads: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, head in heads.items():
            # It becomes the name of a folder of predictions.
            _expect(name.isidentifier(), "names of letters, digits and _", name)
            kind = head.get("kind")
            _expect(isinstance(kind, str) and kind in KINDS, f"{name}.kind to be one of {', '.join(KINDS)}", kind)
            head_class(str(kind)).check_spec(name, head)
        return heads

    @field_validator("channels")
    @classmethod
    def _named_stains(cls, channels: list[str]) -> list[str]:
        if channels:
            try:
                parse(channels)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return channels

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        each, network = self.preprocess.channels, self.network
        _expect(len(self.channels) in (0, each), f"{each} or no names of channels", self.channels)
        found = each * len(self.inputs) * (2 * self.neighbours + 1)
        _expect(found == network.in_channels, f"as many as the network's {network.in_channels} channels in", found)
        columns = [column for head in self.heads.values() for column in head["columns"]]
        several = f"as many different columns of heads as the network's {network.out_channels} channels out"
        _expect(len(set(columns)) == len(columns) == network.out_channels, several, columns)
        return self


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
        description = Description.model_validate(description).model_dump()
        _check_weights(content["state_dict"], path.stat().st_size)
    except ValueError as error:
        raise DataError(f"{path}: not a visionlab checkpoint, or changed by hand: {_said(error)}") from error
    return {**content, "visionlab": description}


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


def _check_weights(weights: Any, size: int) -> None:
    """Check that the weights are tensors by name, and no larger than the file: strides can make much of little."""
    named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
    _expect(named and all(isinstance(t, torch.Tensor) for t in weights.values()), "tensors by name", "others")
    _expect(sum(t.numel() * t.element_size() for t in weights.values()) <= size, f"weights of {size} bytes", "more")


def _check_kinds(network: str, heads: dict[str, Any]) -> None:
    """Check that a network of vectors has heads of vectors, and one of maps heads of maps."""
    kind = models.lookup(network).kind
    for name, head in heads.items():
        right = KINDS[head["kind"]].dense == (kind == "dense")
        _expect(right, f"heads.{name}.kind to be one for a network of kind '{kind}'", head["kind"])


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
        _expect(bool(finite.isfinite().all()), f"heads.{name} to be finite numbers", values.tolist())


def _expect(right: bool, expected: str, found: Any) -> None:
    if not right:
        raise ValueError(f"expected {expected}, found {str(found)[:80]}")


def _said(error: ValueError) -> str:
    """Return what is wrong, with the key where pydantic found it."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    return f"{key}: {first['msg'].removeprefix('Value error, ')}" if key else first["msg"].removeprefix("Value error, ")


def _shape(tensors: dict[str, Any], name: str) -> str:
    return " x ".join(map(str, tensors[name].shape)) or "a number" if name in tensors else "none"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
