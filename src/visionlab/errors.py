"""Errors that are the user's to mend: a sentence for the shell and an exit status, never a traceback."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

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


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the choice closest to ``name``, or an empty string if none is close."""
    pool = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), pool, n=1, cutoff=0.5)
    return f" Did you mean '{pool[close[0]]}'?" if close else ""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function or ``__init__`` against its annotations: types, choices and bounds.

    Bounds stand at the argument itself, ``Annotated[float, Field(gt=0)]``. A whole number fits ``float``; nothing else
    is converted, and NaN and infinities are refused.

    Raises (whenever the function is called):
        ConfigError: an argument doesn't fit; the message names it.
    """
    # Imported here: commands that only answer --help import this module, but call nothing that is checked.
    from pydantic import ValidationError, validate_call

    validated = validate_call(config={"strict": True, "allow_inf_nan": False, "arbitrary_types_allowed": True})(
        function
    )

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return validated(*args, **kwargs)
        except ValidationError as error:
            raise ConfigError("; ".join(_sentence(dict(item)) for item in error.errors())) from None

    return call


def _sentence(item: dict[str, Any]) -> str:
    """Return one of pydantic's errors as a sentence, ``delta: expected a number greater than 0, found -1``."""
    name, message = ".".join(map(str, item["loc"])), str(item["msg"])
    expected = message.removeprefix("Input should be ")
    if expected == message:
        return f"{name}: {message[0].lower()}{message[1:]}"
    of_what = "a number " if expected.startswith(("greater", "less")) else ""
    return f"{name}: expected {of_what}{expected}, found {item['input']!r}"
