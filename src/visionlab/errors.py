"""Errors that are the user's to mend: a sentence for the shell and an exit status, never a traceback."""

from __future__ import annotations

import collections.abc
import difflib
import functools
import json
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")


class UserError(Exception):
    """Something failed for a reason the user can see and mend; the shell gets exit status 1."""

    exit_code = 1


class DataError(UserError):
    """A file or folder of data is missing, broken or contradictory."""


class UsageError(UserError):
    """The command was used wrongly; the shell gets exit status 2."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value is wrong; the message names the key and the choices."""


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.5) -> str:
    """Return `` Did you mean 'x'?`` for the choice closest to ``name``, or an empty string if none is close.

    Args:
        name: what was found.
        choices: what there is.
        cutoff: how alike the two must be at least, 0..1.
    """
    pool = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), pool, n=1, cutoff=cutoff)
    return f" Did you mean '{pool[close[0]]}'?" if close else ""


def show(value: Any) -> str:
    """Return a value as it would be written in YAML: ``null``, ``true``, ``'text'``, ``[1, 2]``."""
    if isinstance(value, str):
        return f"'{value}'"
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def fits(annotation: Any, value: Any) -> bool:
    """Return whether a plain value fits a type annotation and its bounds, ``Annotated[float, Field(gt=0)]``.

    A whole number fits ``float`` and a list a tuple of its length; nothing else is converted. NaN and infinities don't
    fit.
    """
    # Imported here: commands that only answer --help import this module, but check nothing.
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    try:
        TypeAdapter(annotation, config=config).validate_python(value)
    except ValidationError:
        return False
    return True


def check_value(key: str, annotation: Any, value: Any) -> None:
    """Check a value of a configuration against a type annotation, see :func:`fits`.

    Raises:
        ConfigError: it doesn't fit; the message names ``key``, what is expected and the nearest name.
    """
    if not fits(annotation, value):
        found = value if isinstance(value, list) else [value]
        hints = [nearest(item, _names(annotation)) for item in found if isinstance(item, str)]
        hint = next((hint for hint in hints if hint), "")
        raise ConfigError(f"{key}: expected {describe(annotation)}, found {show(value)}{'.' if hint else ''}{hint}")


def describe(annotation: Any) -> str:  # noqa: PLR0911, one return for each form that an annotation can have
    """Return an annotation in words: ``int of at least 1 or null``, ``one of crop, pad``, ``a list of float above 0``.

    A ``Field(description=...)`` takes the place of the words.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        said = next((text for item in arguments[1:] if (text := getattr(item, "description", None))), None)
        return said or describe(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is tuple and arguments[-1] is not ...:
        return f"a list [{', '.join(map(describe, arguments))}]"
    if origin in (list, tuple, collections.abc.Sequence):
        return f"a list of {describe(arguments[0])}"
    if annotation in (list, tuple):
        return "a list"
    if dict in (origin, annotation):
        return "a mapping"
    return "null" if annotation in (None, type(None)) else str(getattr(annotation, "__name__", annotation))


def _bounds(metadata: Iterable[Any]) -> str:
    """Return the bounds of a number or of a list's length in words."""
    found: dict[str, Any] = {}
    for item in metadata:
        for limit in getattr(item, "metadata", [item]):
            for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
                if getattr(limit, name, None) is not None:
                    found[name] = getattr(limit, name)
    if "ge" in found and "le" in found:
        return f" from {found['ge']} to {found['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    text = " and ".join(f"{word} {found[name]}" for name, word in words.items() if name in found)
    few, many = found.get("min_length"), found.get("max_length")
    if few or many:
        text += f"with {few} entries" if few == many else f"with at least {few}" if few else f"with at most {many}"
    return f" {text}" if text else ""


def _names(annotation: Any) -> list[str]:
    """Return the strings of all ``Literal[...]`` in an annotation."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [item for item in arguments if isinstance(item, str)]
    return [name for item in arguments for name in _names(item)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the keyword arguments of a function or ``__init__`` against its annotations whenever it is called.

    Raises (whenever the function is called):
        ConfigError: an argument doesn't fit, see :func:`check_value`.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = get_type_hints(function, include_extras=True)
        for name, value in kwargs.items():
            if name in hints:
                check_value(name, hints[name], value)
        return function(*args, **kwargs)

    return call
