"""What timm, segmentation_models_pytorch and albumentations offer, read from their source files.

Importing them would import torch.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

_MODEL = re.compile(r"^@register_model\s*\ndef (\w+)", re.MULTILINE)
_CLASS = re.compile(r"^class (\w+)(?:\(([^)]*)\))?:", re.MULTILINE)
# Classes that transforms derive from, not transforms.
_ABSTRACT = re.compile(r"_|Base|BasicTransform$|DualTransform$|ImageOnlyTransform$|Transform3D$|MaxSizeTransform$")


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return Path(spec.origin).parent


@cache
def _timm_sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted((_folder("timm") / "models").glob("*.py"))}


@cache
def timm_names() -> frozenset[str]:
    """Return the names of timm's backbones, about 1,400."""
    return frozenset(name for text in _timm_sources().values() for name in _MODEL.findall(text))


def timm_tags(name: str) -> tuple[str, ...]:
    """Return the names of the pretrained weights of a backbone, e.g. ``a1_in1k`` of ``resnet50``."""
    quoted = re.compile(rf"""['"]{re.escape(name)}\.(\w+)\*?['"]""")
    return tuple(sorted({tag for text in _timm_sources().values() for tag in quoted.findall(text)}))


@cache
def smp_encoders() -> frozenset[str]:
    """Return the names of the encoders of segmentation_models_pytorch, without those it makes of timm's (``tu-``)."""
    names: set[str] = set()
    for path in (_folder("segmentation_models_pytorch") / "encoders").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            # Each file has one table {name: how to build it}, resnet_encoders in resnet.py.
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Dict)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id.endswith("_encoders")
            ):
                names.update(str(ast.literal_eval(key)) for key in node.value.keys if key is not None)
    return frozenset(names)


@cache
def _albumentations_classes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return class name -> (source of the class from its first line, names of its bases)."""
    classes = {}
    for path in sorted(_folder("albumentations").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for match in _CLASS.finditer(text):
            following = re.compile(r"^\S", re.MULTILINE).search(text, match.end())
            source = text[match.start() : following.start() if following else None]
            bases = tuple(re.findall(r"[A-Za-z_]\w*", match[2] or ""))
            classes[match[1]] = (source, bases)
    return classes


@cache
def transforms() -> frozenset[str]:
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
