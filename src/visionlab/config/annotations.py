"""Does a value of a configuration fit a type annotation? Answered on the annotation's source, nothing is imported."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

Resolve = Callable[[str], ast.expr | None]
"""Name of a type alias -> the annotation it stands for, or None if it isn't known."""

_SCALARS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
_LISTS = {"list", "List", "Sequence", "Iterable", "Collection"}
_TUPLES = {"tuple", "Tuple"}
_MAPPINGS = {"dict", "Dict", "Mapping"}


def accepts(  # noqa: PLR0911, one return for each form that an annotation can have
    annotation: ast.expr, value: Any, resolve: Resolve = lambda name: None
) -> bool:
    """Return whether ``value`` (str, number, bool, None, list or dict) fits; annotations not understood accept all.

    An int fits ``float``, a bool fits neither number, and a list fits a tuple of its length.
    """
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            return accepts(ast.parse(annotation.value, mode="eval").body, value, resolve)
        return value is None
    if isinstance(annotation, ast.BinOp):
        return accepts(annotation.left, value, resolve) or accepts(annotation.right, value, resolve)
    if isinstance(annotation, ast.Subscript):
        return _accepts_generic(annotation, value, resolve)
    name = _name(annotation)
    if name in _SCALARS:
        return isinstance(value, _SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
    if name in _LISTS | _TUPLES:
        return isinstance(value, list)
    if name in _MAPPINGS:
        return isinstance(value, dict)
    alias = resolve(name)
    return alias is None or accepts(alias, value, resolve)


def _accepts_generic(annotation: ast.Subscript, value: Any, resolve: Resolve) -> bool:  # noqa: PLR0911
    name, arguments = _name(annotation.value), _arguments(annotation)
    if name == "Literal":
        return any(value == item and type(value) is type(item) for item in literals(annotation, resolve))
    if name in ("Optional", "Union"):
        return (name == "Optional" and value is None) or any(accepts(item, value, resolve) for item in arguments)
    if name in _LISTS:
        return isinstance(value, list) and all(accepts(arguments[0], item, resolve) for item in value)
    if name in _TUPLES:
        if not isinstance(value, list):
            return False
        if len(arguments) == 2 and isinstance(arguments[1], ast.Constant) and arguments[1].value is ...:
            return all(accepts(arguments[0], item, resolve) for item in value)
        pairs = zip(arguments, value, strict=False)
        return len(arguments) == len(value) and all(accepts(wanted, item, resolve) for wanted, item in pairs)
    if name in _MAPPINGS:
        return isinstance(value, dict) and all(accepts(arguments[-1], item, resolve) for item in value.values())
    return name != "Annotated" or accepts(arguments[0], value, resolve)


def literals(annotation: ast.expr, resolve: Resolve = lambda name: None) -> list[Any]:
    """Return the values of all ``Literal[...]`` in an annotation."""
    found: list[Any] = []
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and _name(node.value) == "Literal":
            found += [item.value for item in _arguments(node) if isinstance(item, ast.Constant)]
        elif isinstance(node, ast.Name) and (alias := resolve(node.id)) is not None:
            found += literals(alias, resolve)
    return found


def describe(annotation: ast.expr, resolve: Resolve = lambda name: None) -> str:  # noqa: PLR0911
    """Return an annotation as a reader of YAML would write it: ``int or null``, ``one of crop, pad``."""
    if isinstance(annotation, ast.BinOp):
        return f"{describe(annotation.left, resolve)} or {describe(annotation.right, resolve)}"
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "null"
    if isinstance(annotation, ast.Subscript):
        name, arguments = _name(annotation.value), _arguments(annotation)
        if name == "Literal":
            return "one of " + ", ".join(map(str, literals(annotation, resolve)))
        if name == "Annotated":
            return describe(arguments[0], resolve)
        if name in ("Optional", "Union"):
            parts = [describe(item, resolve) for item in arguments]
            return " or ".join([*parts, "null"] if name == "Optional" else parts)
        if name in _LISTS:
            return f"a list of {describe(arguments[0], resolve)}"
        if name in _TUPLES:
            repeated = len(arguments) == 2 and isinstance(arguments[1], ast.Constant)
            inner = ", ".join(describe(item, resolve) for item in arguments)
            return f"a list of {describe(arguments[0], resolve)}" if repeated else f"a list [{inner}]"
        if name in _MAPPINGS:
            return f"a mapping to {describe(arguments[-1], resolve)}"
    alias = resolve(_name(annotation))
    return describe(alias, resolve) if alias is not None else ast.unparse(annotation)


def show(value: Any) -> str:
    """Return a value as it would be written in YAML: ``null``, ``true``, ``'text'``, ``[1, 2]``."""
    if isinstance(value, str):
        return f"'{value}'"
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


def _name(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Attribute):
        return annotation.attr
    return annotation.id if isinstance(annotation, ast.Name) else ""


def _arguments(annotation: ast.Subscript) -> list[ast.expr]:
    return annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
