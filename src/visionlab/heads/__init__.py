"""Kinds of heads by the names that configurations use. Importing this does not import torch.

A kind is a folder: ``__init__.py`` says what is known of it without torch (:class:`visionlab.heads.kind.Kind`),
``head.py`` has its loss, its values and what is fitted, and, unless it is a matter of its own (``target.py``), what it
asks of the data. With one line below it is known everywhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visionlab.heads.kind import Kind

if TYPE_CHECKING:
    from visionlab.heads.head import Head

_FOLDERS = {
    "regression": "visionlab.heads.regression",
    "mask": "visionlab.heads.mask",
    "depth": "visionlab.heads.depth",
    "instances": "visionlab.heads.instances",
    "multilabel": "visionlab.heads.labels",
}

KINDS: dict[str, Kind] = {name: import_module(folder).KIND for name, folder in _FOLDERS.items()}
"""Name of a kind -> the kind."""


def load(dotted: str) -> Any:
    """Return what a dotted name of a :class:`Kind` names: a module, or something in one."""
    module, _, name = dotted.rpartition(".")
    found = import_module(module)
    return getattr(found, name) if hasattr(found, name) else import_module(dotted)


def head_class(kind: str) -> type[Head]:
    """Return the class of heads of this kind.

    Raises:
        KeyError: there is none.
    """
    found: type[Head] = load(KINDS[kind].head)
    return found
