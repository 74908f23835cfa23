"""albumentations' transforms: their names and arguments, read from its source files, and the check of a list of them.

Importing albumentations would import torch.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Annotated, Any, Literal

from visionlab.config import signature
from visionlab.config.signature import Argument
from visionlab.errors import ConfigError, nearest, show
from visionlab.models.catalog import package_folder

_CLASS = re.compile(r"^class (\w+)(?:\(([^)]*)\))?:", re.MULTILINE)
# Classes that transforms derive from, not transforms.
_ABSTRACT = re.compile(r"_|Base|BasicTransform$|DualTransform$|ImageOnlyTransform$|Transform3D$|MaxSizeTransform$")
# Transforms that swap height and width.
_TURNING = ("D4", "RandomRotate90", "SquareSymmetry", "Transpose")


def check_transform(key: str, entry: Any, size: Any) -> None:
    """Check a transform of a list in ``conf/augment/``, or a choice between several, ``{one_of: [...], p: 0.5}``.

    Args:
        key: of the entry.
        entry: ``{transform: NAME, argument: value, ...}``.
        size: of the images, side or [height, width].

    Raises:
        ConfigError: there is no such transform or argument, or a value isn't what it may be.
    """
    from pydantic import Field

    share = Annotated[float, Field(ge=0, le=1)]
    if isinstance(entry, dict) and "one_of" in entry:
        several = Argument(Annotated[list[Any], Field(min_length=1)], required=True)
        signature.check_arguments({"one_of": several, "p": Argument(share, required=True)}, entry, key)
        for place, inner in enumerate(entry["one_of"]):
            check_transform(f"{key}.one_of[{place}]", inner, size)
        return
    if not isinstance(entry, dict) or not isinstance(entry.get("transform"), str):
        raise ConfigError(f"{key}: expected {{transform: NAME, argument: value, ...}}, found {show(entry)}")
    name = entry["transform"]
    if name not in transform_names():
        hint = nearest(name, transform_names())
        raise ConfigError(f"{key}.transform: expected a transform of albumentations, found '{name}'.{hint}")
    # Maps are never interpolated: that would mix their values.
    own: dict[str, Any] = {"p": share, "mask_interpolation": Literal[0]}
    known = {
        argument: Argument(own.get(argument, signature.annotation_type(annotation)), required)
        for argument, (annotation, required) in transform_arguments(name).items()
    }
    signature.check_arguments(known, {item: value for item, value in entry.items() if item != "transform"}, key)
    if name in _TURNING and isinstance(size, list) and size[0] != size[1]:
        raise ConfigError(f"data.image_size: expected a square, as {key} ({name}) turns images, found {size}")


@cache
def _albumentations_classes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return class name -> (source of the class from its first line, names of its bases)."""
    classes = {}
    for path in sorted(package_folder("albumentations").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for match in _CLASS.finditer(text):
            following = re.compile(r"^\S", re.MULTILINE).search(text, match.end())
            source = text[match.start() : following.start() if following else None]
            bases = tuple(re.findall(r"[A-Za-z_]\w*", match[2] or ""))
            classes[match[1]] = (source, bases)
    return classes


@cache
def transform_names() -> frozenset[str]:
    """Return the names of albumentations' transforms."""
    classes = _albumentations_classes()

    def derives(name: str) -> bool:
        return name == "BasicTransform" or any(derives(base) for base in classes.get(name, ("", ()))[1])

    return frozenset(name for name in classes if not _ABSTRACT.match(name) and derives(name))


@cache
def transform_arguments(name: str) -> dict[str, tuple[ast.expr | None, bool]]:
    """Return argument -> (annotation, whether it must be given) of a transform's ``__init__``, its own or inherited."""
    source, bases = _albumentations_classes().get(name, ("", ()))
    body = ast.parse(source).body
    definition = body[0] if body else None
    for node in definition.body if isinstance(definition, ast.ClassDef) else []:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = [*node.args.posonlyargs, *node.args.args][1:]
            first_default = len(arguments) - len(node.args.defaults)
            found = {item.arg: (_named(item.annotation), place < first_default) for place, item in enumerate(arguments)}
            for item, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                found[item.arg] = (_named(item.annotation), default is None)
            return found
    for base in bases:
        inherited = transform_arguments(base)
        if inherited:
            return inherited
    return {}


class _Numbers(ast.NodeTransformer):
    """Puts the numbers of OpenCV's constants in their place: configurations can only hold those."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        import cv2

        known = isinstance(node.value, ast.Name) and node.value.id == "cv2" and hasattr(cv2, node.attr)
        return ast.Constant(getattr(cv2, node.attr)) if known else node


def _named(annotation: ast.expr | None) -> ast.expr | None:
    return None if annotation is None else _Numbers().visit(annotation)
