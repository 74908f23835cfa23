"""What configurations are checked against that stands in rooms which use this one: given by the commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Option(Protocol):
    """A key of the configuration that only heads of one kind have; see :class:`visionlab.heads.kind.Option`."""

    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def between(self) -> tuple[float, float] | None: ...


class Kind(Protocol):
    """What is known of a kind of head without torch; see :class:`visionlab.heads.kind.Kind`."""

    @property
    def module(self) -> str: ...
    @property
    def activations(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def gives(self) -> str: ...
    @property
    def losses(self) -> str: ...
    @property
    def binary(self) -> bool: ...
    @property
    def classes(self) -> bool: ...
    @property
    def dense(self) -> bool: ...
    @property
    def unsuited(self) -> Mapping[str, str]: ...
    @property
    def while_training(self) -> tuple[str, ...]: ...
    @property
    def options(self) -> Mapping[str, Option]: ...
    @property
    def check(self) -> Callable[[str, Mapping[str, Any]], None]: ...


@dataclass(frozen=True)
class Registry:
    """What a configuration may name.

    Attributes:
        kinds: of heads, by name.
        modules: name of a LightningModule -> kind of the networks that it takes, ``image`` or ``dense``.
        places: part of a configuration (``data``, ``loss``, ...) -> what the names under its ``_target_`` begin with.
        supplied: part -> how many arguments our code gives to a class of another package; 0 where not listed.
        check_data: called with the arguments of the data set and its ``_target_``, for what their types don't say;
            raises ConfigError.
    """

    kinds: Mapping[str, Kind]
    modules: Mapping[str, str]
    places: Mapping[str, str]
    supplied: Mapping[str, int]
    check_data: Callable[[Mapping[str, Any]], None]
