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


class Sources:
    """The source of a package.

    Args:
        folder: that holds the package's folder.
        package: its name; nothing outside it is looked at.
        supplied: how many arguments our code gives to its classes and functions; None: all that stand before ``*``.
    """

    def __init__(self, folder: Path, package: str, supplied: int | None = None) -> None:
        self.folder, self.package, self.supplied = folder, package, supplied
        self._trees: dict[Path, ast.Module] = {}

    def arguments(self, target: str) -> tuple[dict[str, Argument], bool]:
        """Return the arguments of a class or function, and whether it takes others, too.

        ``**`` adds those of the base classes; of a base in another package nothing is known, so that it takes any.

        Raises:
            ConfigError: there is no such class or function in the package, or its name is private.
        """
        definition, module = self._find(target)
        own: dict[str, Argument] = {}
        if isinstance(definition, ast.FunctionDef):
            return self._arguments(definition, module, method=False), definition.args.kwarg is not None
        initializer = next(
            (node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None
        )
        if initializer is not None:
            own = self._arguments(initializer, module, method=True)
            if initializer.args.kwarg is None:
                return own, False
        bases = self._bases(definition, module)
        elsewhere = len(bases) < len(definition.bases) and self.package != OURS
        for base in bases:
            inherited, more = self.arguments(base)
            own, elsewhere = {**inherited, **own}, elsewhere or more
        return own, elsewhere

    def literal(self, target: str, name: str) -> Any:
        """Return the value of a class attribute that is written as a literal, the class's own or inherited; or None.

        Raises:
            ConfigError: there is no such class, or the value is computed.
        """
        definition, module = self._find(target)
        if not isinstance(definition, ast.ClassDef):
            return None
        for node in definition.body:
            assigned = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(assigned, ast.Name) and assigned.id == name and value is not None:
                try:
                    return ast.literal_eval(value)
                except ValueError:
                    raise ConfigError(
                        f"{target}.{name}: expected a literal value, found {ast.unparse(value)}"
                    ) from None
        inherited = (self.literal(base, name) for base in self._bases(definition, module))
        return next((value for value in inherited if value is not None), None)

    def check(self, target: str, given: Mapping[str, Any], where: str, later: Collection[str] = ()) -> None:
        """Check the arguments given to a class or function.

        Args:
            target: dotted name.
            given: plain values (no ``_target_``).
            where: the configuration key that they stand under, for messages.
            later: names of arguments that may be missing, as our code gives them.

        Raises:
            ConfigError: the target doesn't exist; an argument is unknown, missing, of the wrong type or out of bounds.
        """
        try:
            arguments, more = self.arguments(target)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
        for name, value in given.items():
            if name in arguments:
                check_value(f"{where}.{name}", arguments[name].annotation, value)
            elif not more:
                choices = ", ".join(arguments) or "none"
                raise ConfigError(
                    f"{where}.{name}: unknown key.{nearest(name, arguments)} Keys of {where} ({target}): {choices}"
                )
        missing = [name for name, argument in arguments.items() if argument.required and name not in (*given, *later)]
        if missing:
            raise ConfigError(f"{where}.{missing[0]}: expected a value, found none; {target} needs it")

    def _arguments(self, function: ast.FunctionDef, module: str, *, method: bool) -> dict[str, Argument]:
        positional = [*function.args.posonlyargs, *function.args.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(function.args.defaults))
        pairs = list(zip(positional, [*defaults, *function.args.defaults], strict=True))
        pairs = [] if self.supplied is None else pairs[self.supplied + method :]
        pairs += zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        return {
            item.arg: Argument(
                annotation_type(item.annotation, lambda name: self._alias(module, name)), default is None
            )
            for item, default in pairs
        }

    def _find(self, target: str) -> tuple[Definition, str]:
        """Return the definition and the dotted name of the module that it stands in."""
        module, _, name = target.rpartition(".")
        if not module.startswith(f"{self.package}.") and module != self.package:
            raise ConfigError(f"_target_: expected a name that begins with '{self.package}.', found '{target}'")
        if any(part.startswith("_") for part in target.split(".")):
            raise ConfigError(f"_target_: '{target}' is private; expected a public class or function")
        tree = self._tree(module)
        if tree is None:
            raise ConfigError(
                f"_target_: expected a class or function, found '{target}'; there is no module '{module}'"
            )
        node = self._lookup(module, name)
        if node is None or not isinstance(node[0], ast.ClassDef | ast.FunctionDef):
            public = [item.name for item in tree.body if isinstance(item, ast.ClassDef | ast.FunctionDef)]
            if self.package != OURS:
                public += [alias.name for item in tree.body if isinstance(item, ast.ImportFrom) for alias in item.names]
            public = [item for item in public if not item.startswith("_")]
            raise ConfigError(
                f"_target_: no '{name}' in {module}.{nearest(name, public)} It has: {', '.join(public) or 'none'}"
            )
        return node[0], node[1]

    def _lookup(self, module: str, name: str) -> tuple[ast.stmt, str] | None:
        """Return the statement that defines a name and its module, following ``from ... import``."""
        tree = self._tree(module)
        for node in tree.body if tree is not None else []:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return node, module
            if isinstance(node, ast.Assign | ast.AnnAssign):
                assigned = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(assigned, ast.Name) and assigned.id == name:
                    return node, module
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return self._lookup(self._origin(module, node), alias.name)
        return None

    def _origin(self, module: str, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        # One dot is the package that the module stands in; a package's own __init__ stands in itself.
        parts = module.split(".")
        up = node.level - 1 if (self._path(module) or Path()).name == "__init__.py" else node.level
        return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])

    def _alias(self, module: str, name: str) -> ast.expr | None:
        found = self._lookup(module, name)
        return found[0].value if found is not None and isinstance(found[0], ast.Assign | ast.AnnAssign) else None

    def _bases(self, definition: ast.ClassDef, module: str) -> list[str]:
        """Return the dotted names of the base classes that are in the package."""
        found = []
        for base in definition.bases:
            if isinstance(base, ast.Name):
                node = self._lookup(module, base.id)
                if node is not None and isinstance(node[0], ast.ClassDef):
                    found.append(f"{node[1]}.{node[0].name}")
        return found

    def _path(self, module: str) -> Path | None:
        if module.split(".", maxsplit=1)[0] != self.package:
            return None
        stem = self.folder.joinpath(*module.split("."))
        return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)

    def _tree(self, module: str) -> ast.Module | None:
        path = self._path(module)
        if path is not None and path not in self._trees:
            self._trees[path] = ast.parse(path.read_text(encoding="utf-8"))
        return self._trees[path] if path is not None else None


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


def check(target: str, given: Mapping[str, Any], where: str, supplied: int = 0, later: Collection[str] = ()) -> None:
    """Check the arguments given to a class or function, see :meth:`Sources.check`.

    Args:
        target, given, where, later: see there; of another package whose source isn't found, nothing is checked.
        supplied: how many arguments our code gives to those of other packages.
    """
    found = _sources(target.partition(".")[0], None if is_ours(target) else supplied)
    if found is not None:
        found.check(target, given, where, later)


def literal(target: str, name: str) -> Any:
    """Return a literal class attribute; see :meth:`Sources.literal`."""
    found = _sources(target.partition(".")[0])
    return None if found is None else found.literal(target, name)


def annotation(target: str, name: str) -> Any:
    """Return the annotation of an argument; None where there is no such argument or class."""
    found = _sources(target.partition(".")[0], None if is_ours(target) else 0)
    try:
        return found.arguments(target)[0][name].annotation if found is not None else None
    except (ConfigError, KeyError):
        return None


def is_ours(target: str) -> bool:
    """Return whether a dotted name is of this package."""
    return target.startswith(f"{OURS}.")


@cache
def _sources(package: str, supplied: int | None = None) -> Sources | None:
    """Return the source of a package, found without importing it; None if it has none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = [*(spec.submodule_search_locations or ()), str(spec.origin)] if spec else []
    # A package is a folder, a module a file.
    folder = next((Path(place).parent for place in places if place.endswith((".py", package))), None)
    return None if folder is None else Sources(folder, package, supplied)
