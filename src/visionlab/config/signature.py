"""What classes and functions take, read from their source: a configuration is checked before torch is imported.

The convention of our own: arguments before ``*`` are supplied by our code, those after it are keys of the
configuration. Of another package's classes all arguments but the first few are.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, Union

from visionlab.config.schema import unknown_key
from visionlab.errors import ConfigError, check_value, nearest

OURS = __name__.partition(".")[0]

Definition = ast.ClassDef | ast.FunctionDef

_SCALARS: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "dict": dict}
_LISTS = ("list", "List", "Sequence", "Iterable", "Collection")


@dataclass(frozen=True)
class Argument:
    """An argument that a configuration sets: its type (Any where that isn't understood), and whether it must be."""

    annotation: Any
    required: bool


def is_ours(target: str) -> bool:
    """Return whether a dotted name is of this package."""
    return target.startswith(f"{OURS}.")


def arguments(target: str, supplied: int = 0) -> tuple[dict[str, Argument], bool]:
    """Return the arguments of a class or function, and whether it takes others, too.

    ``**`` adds those of the base classes; of a base in another package nothing is known, so that it takes any.

    Args:
        target: dotted name.
        supplied: how many arguments our code gives to those of other packages; of ours, all that stand before ``*``.

    Raises:
        ConfigError: there is no such class or function in its package, or its name is private.
    """
    definition, module = _find(target)
    if isinstance(definition, ast.FunctionDef):
        return _arguments(definition, module, supplied), definition.args.kwarg is not None
    own: dict[str, Argument] = {}
    methods = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    for initializer in [node for node in methods if node.name == "__init__"]:
        own = _arguments(initializer, module, supplied + 1)
        if initializer.args.kwarg is None:
            return own, False
    bases = _bases(definition, module)
    elsewhere = len(bases) < len(definition.bases) and not is_ours(target)
    for base in bases:
        inherited, more = arguments(base, supplied)
        own, elsewhere = {**inherited, **own}, elsewhere or more
    return own, elsewhere


def annotation(target: str, name: str) -> Any:
    """Return the annotation of an argument; None where there is no such argument or class."""
    try:
        return arguments(target)[0][name].annotation
    except (ConfigError, KeyError):
        return None


def literal(target: str, name: str) -> Any:
    """Return the value of a class attribute that is written as a literal, the class's own or inherited; or None.

    Raises:
        ConfigError: there is no such class, or the value is computed.
    """
    definition, module = _find(target)
    if not isinstance(definition, ast.ClassDef):
        return None
    for node in definition.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and _assigned(node) == name and node.value is not None:
            try:
                return ast.literal_eval(node.value)
            except (ValueError, TypeError):
                found = ast.unparse(node.value)
                raise ConfigError(f"_target_: expected a literal value of {target}.{name}, found {found}") from None
    inherited = (literal(base, name) for base in _bases(definition, module))
    return next((value for value in inherited if value is not None), None)


def check(target: str, given: Mapping[str, Any], where: str, supplied: int = 0, later: Collection[str] = ()) -> None:
    """Check the arguments given to a class or function; of a package whose source isn't found, nothing.

    Args:
        target, supplied: see :func:`arguments`.
        given: plain values (no ``_target_``).
        where: the configuration key that they stand under, for messages.
        later: names of arguments that may be missing, as our code gives them.

    Raises:
        ConfigError: the target doesn't exist; an argument is unknown, missing, of the wrong type or out of bounds.
    """
    if _folder(target.partition(".")[0]) is None:
        return
    try:
        known, more = arguments(target, supplied)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    check_arguments(known, given, where, later, more=more)


def check_arguments(
    known: Mapping[str, Argument],
    given: Mapping[str, Any],
    where: str,
    later: Collection[str] = (),
    *,
    more: bool = False,
) -> None:
    """Check given arguments against those that there are; see :func:`check`."""
    for name, value in given.items():
        if name in known:
            check_value(f"{where}.{name}", known[name].annotation, value)
        elif not more:
            raise unknown_key(f"{where}.{name}", [f"{where}.{item}" for item in known])
    for name, argument in known.items():
        if argument.required and name not in given and name not in later:
            raise ConfigError(f"{where}.{name}: expected a value, found none")


def _arguments(function: ast.FunctionDef, module: str, supplied: int) -> dict[str, Argument]:
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(function.args.defaults))
    pairs = list(zip(positional, [*defaults, *function.args.defaults], strict=True))
    pairs = [] if is_ours(f"{module}.") else pairs[supplied:]
    pairs += zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        item.arg: Argument(annotation_type(item.annotation, lambda name: _alias(module, name)), default is None)
        for item, default in pairs
    }


def _find(target: str) -> tuple[Definition, str]:
    """Return the definition and the dotted name of the module that it stands in."""
    module, _, name = target.rpartition(".")
    if any(part.startswith("_") for part in target.split(".")):
        raise ConfigError(f"_target_: '{target}' is private; expected a public class or function")
    tree = _tree(module)
    if tree is None:
        raise ConfigError(f"_target_: expected a class or function, found '{target}'; there is no module '{module}'")
    found = _lookup(module, name)
    if found is None or not isinstance(found[0], ast.ClassDef | ast.FunctionDef):
        public = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        raise ConfigError(f"_target_: no '{name}' in {module}.{nearest(name, public)}")
    return found[0], found[1]


def _lookup(module: str, name: str) -> tuple[ast.stmt, str] | None:
    """Return the statement that defines a name and its module, following ``from ... import`` in the package."""
    tree, package = _tree(module), module.partition(".")[0]
    for node in tree.body if tree is not None else []:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, module
        if isinstance(node, ast.Assign | ast.AnnAssign) and _assigned(node) == name:
            return node, module
        if isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            for alias in node.names if origin.partition(".")[0] == package else []:
                if (alias.asname or alias.name) == name:
                    return _lookup(origin, alias.name)
    return None


def _assigned(node: ast.Assign | ast.AnnAssign) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else None


def _origin(module: str, node: ast.ImportFrom) -> str:
    """Return the dotted name of the module that ``from`` names, which may be relative."""
    path = _path(module)
    package = module if path is not None and path.name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def _alias(module: str, name: str) -> ast.expr | None:
    found = _lookup(module, name)
    return found[0].value if found is not None and isinstance(found[0], ast.Assign | ast.AnnAssign) else None


def _bases(definition: ast.ClassDef, module: str) -> list[str]:
    """Return the dotted names of the base classes that are in the package."""
    found = [_lookup(module, base.id) for base in definition.bases if isinstance(base, ast.Name)]
    return [f"{node[1]}.{node[0].name}" for node in found if node is not None and isinstance(node[0], ast.ClassDef)]


def _folder(package: str) -> Path | None:
    """Return the folder that a package (a folder) or module (a file) stands in, without importing it, or None."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = [*(spec.submodule_search_locations or ()), str(spec.origin)] if spec else []
    return next((Path(place).parent for place in places if place.endswith((".py", package))), None)


def _path(module: str) -> Path | None:
    parts = module.split(".")
    folder = _folder(parts[0])
    if folder is None:
        return None
    stem = folder.joinpath(*parts)
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _tree(module: str) -> ast.Module | None:
    path = _path(module)
    return None if path is None else _parsed(path)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def annotation_type(node: ast.expr | None, alias: Any = lambda name: None) -> Any:
    """Return the type that an annotation's source stands for, as pydantic takes it; Any where it isn't understood.

    Args:
        node: the annotation.
        alias: name -> the source of what is assigned to it, or None.
    """
    if isinstance(node, ast.Constant):
        return annotation_type(ast.parse(node.value, mode="eval").body, alias) if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp):
        return Union[annotation_type(node.left, alias), annotation_type(node.right, alias)]  # noqa: UP007 - not names
    if isinstance(node, ast.Subscript):
        return _generic(node, alias)
    name = _name(node)
    if name in _SCALARS:
        return _SCALARS[name]
    found = alias(name)
    return Any if found is None else annotation_type(found, alias)


def _generic(node: ast.Subscript, alias: Any) -> Any:  # noqa: PLR0911
    from pydantic import Field, Strict

    name, parts = _name(node.value), node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Literal[tuple(_constant(part, alias) for part in parts)]
    types = [
        Ellipsis if isinstance(p, ast.Constant) and p.value is ... else annotation_type(p, alias) for p in parts[:2]
    ]
    if name == "Annotated":
        fields = [part for part in parts[1:] if isinstance(part, ast.Call) and _name(part.func) == "Field"]
        given = [{str(item.arg): _constant(item.value, alias) for item in field.keywords} for field in fields]
        return Annotated[(types[0], *(Field(**bounds) for bounds in given))] if given else types[0]
    if name == "Optional":
        return Union[types[0], None]  # noqa: UP007 - not names
    if name == "Union":
        return Union[tuple(annotation_type(part, alias) for part in parts)]  # noqa: UP007 - not names
    if name in _LISTS:
        return GenericAlias(list, (types[0],))
    if name in ("tuple", "Tuple"):
        members = types if Ellipsis in types else [annotation_type(part, alias) for part in parts]
        # A configuration has lists only.
        return Annotated[GenericAlias(tuple, tuple(members)), Strict(False)]
    return dict if name in ("dict", "Dict", "Mapping") else Any


def _constant(node: ast.expr, alias: Any) -> Any:
    """Return a bound or choice: a literal, or the name of one."""
    found = alias(node.id) if isinstance(node, ast.Name) else None
    return ast.literal_eval(node if found is None else found)


def _name(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Attribute):
        return annotation.attr
    return annotation.id if isinstance(annotation, ast.Name) else ""
