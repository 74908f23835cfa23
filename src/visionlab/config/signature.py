"""What our classes and functions take, read from their source: a configuration is checked before torch is imported.

The convention: arguments before ``*`` are supplied by our code, those after it are keys of the configuration.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from visionlab.config.annotations import accepts, describe, literals, show
from visionlab.errors import ConfigError, nearest

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Argument:
    """A keyword-only argument: its annotation (None: anything), whether it must be given, and where it is written."""

    annotation: ast.expr | None
    required: bool
    module: str


class Sources:
    """The source of a package.

    Args:
        folder: that holds the package's folder.
        package: its name; nothing outside it is looked at.
    """

    def __init__(self, folder: Path, package: str) -> None:
        self.folder, self.package = folder, package
        self._trees: dict[Path, ast.Module] = {}

    def arguments(self, target: str) -> dict[str, Argument]:
        """Return the keyword-only arguments of a class or function; ``**`` adds those of the base classes.

        Raises:
            ConfigError: there is no such class or function in the package, or its name is private.
        """
        definition, module = self._find(target)
        if isinstance(definition, ast.FunctionDef):
            return _keywords(definition, module)
        initializer = next(
            (node for node in definition.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None
        )
        own = _keywords(initializer, module) if initializer is not None else {}
        if initializer is not None and initializer.args.kwarg is None:
            return own
        for base in self._bases(definition, module):
            own = {**self.arguments(base), **own}
        return own

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

    def check(self, target: str, given: Mapping[str, Any], where: str) -> None:
        """Check the arguments given to a class or function.

        Args:
            target: dotted name.
            given: plain values (no ``_target_``).
            where: the configuration key that they stand under, for messages.

        Raises:
            ConfigError: the target doesn't exist; an argument is unknown, missing or of the wrong type.
        """
        try:
            arguments = self.arguments(target)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
        for name, value in given.items():
            if name not in arguments:
                choices = ", ".join(arguments) or "none"
                raise ConfigError(
                    f"{where}.{name}: unknown key.{nearest(name, arguments)} Keys of {where} ({target}): {choices}"
                )
            self._check_value(arguments[name], value, f"{where}.{name}")
        missing = [name for name, argument in arguments.items() if argument.required and name not in given]
        if missing:
            raise ConfigError(f"{where}.{missing[0]}: expected a value, found none; {target} needs it")

    def _check_value(self, argument: Argument, value: Any, key: str) -> None:
        annotation = argument.annotation
        if annotation is None:
            return

        def resolve(name: str) -> ast.expr | None:
            return self._alias(argument.module, name)

        if not accepts(annotation, value, resolve):
            choices = [item for item in literals(annotation, resolve) if isinstance(item, str)]
            hint = nearest(value, choices) if isinstance(value, str) else ""
            raise ConfigError(f"{key}: expected {describe(annotation, resolve)}, found {show(value)}.{hint}")

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


def _keywords(function: ast.FunctionDef, module: str) -> dict[str, Argument]:
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {item.arg: Argument(item.annotation, default is None, module) for item, default in pairs}


@cache
def _sources() -> Sources:
    return Sources(Path(__file__).parents[2], "visionlab")


def check(target: str, given: Mapping[str, Any], where: str) -> None:
    """Check the arguments given to a class or function of visionlab; see :meth:`Sources.check`."""
    _sources().check(target, given, where)


def literal(target: str, name: str) -> Any:
    """Return a literal class attribute of a class of visionlab; see :meth:`Sources.literal`."""
    return _sources().literal(target, name)
