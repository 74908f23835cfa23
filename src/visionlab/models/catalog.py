"""What timm and segmentation_models_pytorch offer, read from their source files.

Importing them would import torch.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

_MODEL = re.compile(r"^@register_model\s*\ndef (\w+)", re.MULTILINE)


def package_folder(package: str) -> Path:
    """Return the folder of a package that is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    return Path(spec.origin).parent


@cache
def _timm_sources() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted((package_folder("timm") / "models").glob("*.py"))}


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
    for path in (package_folder("segmentation_models_pytorch") / "encoders").glob("*.py"):
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
