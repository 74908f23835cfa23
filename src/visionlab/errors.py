"""Errors that are the user's to mend: a sentence for the shell and an exit status, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
