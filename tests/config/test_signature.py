"""Reading what a class takes from its source, on small packages written here, and on the real libraries."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.conftest import ROOT
from visionlab.config import defaults, transforms
from visionlab.config.signature import annotation_type, arguments, literal
from visionlab.config.signature import check as check_target
from visionlab.errors import ConfigError, describe, fits
from visionlab.models import catalog

BASE = """
from typing import Any, Literal, Sequence
import a_module_that_does_not_exist
from .types import Size

Fit = Literal["crop", "pad"]

class Base:
    targets = {"depth": ("near", "far")}
    kind: str = "dense"
    computed = dict(targets)

    def __init__(self, seed, augment, *, root: str, fit: Fit = "crop", size: Size = 8, other: Unknown = None):
        raise RuntimeError("never called")

class Plain(Base):
    targets = {"mask": ("mask",)}

class More(Base):
    def __init__(self, *args, root: str = "here", extra: list[int] = (), **kwargs): ...

class Closed(Base):
    def __init__(self, seed, *, only: float): ...

class _Private: ...

def function(x, *, rate: float, name: str | None = None): ...

value = 3
"""


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that takes the place of ours."""
    package = tmp_path / "toy"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("from toy.base import Plain as Renamed\n")
    (package / "types.py").write_text("Size = int | tuple[int, int]\n")
    (package / "base.py").write_text(BASE)
    (package / "sub" / "__init__.py").write_text("from ..base import function\nfrom .leaf import Leaf\n")
    (package / "sub" / "leaf.py").write_text("from toy import base\nfrom ..base import Plain\nclass Leaf(Plain): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("visionlab.config.signature.OURS", "toy")


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("toy.base.Base", ["root", "fit", "size", "other"]),
        ("toy.base.Plain", ["root", "fit", "size", "other"]),
        ("toy.Renamed", ["root", "fit", "size", "other"]),
        ("toy.sub.leaf.Leaf", ["root", "fit", "size", "other"]),
        ("toy.sub.Leaf", ["root", "fit", "size", "other"]),
        ("toy.base.More", ["root", "fit", "size", "other", "extra"]),
        ("toy.base.Closed", ["only"]),
        ("toy.base.function", ["rate", "name"]),
        ("toy.sub.function", ["rate", "name"]),
    ],
)
def test_keyword_only_arguments_are_the_configuration(target: str, names: list[str]) -> None:
    found, more = arguments(target)
    assert list(found) == names
    assert not more
    assert [name for name in found if found[name].required] == [
        name for name in names if name in ("root", "only", "rate") and target != "toy.base.More"
    ]


def test_literal_attributes() -> None:
    assert literal("toy.base.Plain", "targets") == {"mask": ("mask",)}
    assert literal("toy.sub.Leaf", "kind") == "dense"
    assert literal("toy.base.Base", "absent") is None
    with pytest.raises(ConfigError, match=r"_target_: expected .* of toy\.base\.Base\.computed, found dict\(targets\)"):
        literal("toy.base.Base", "computed")


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        (
            "toy.base.Base",
            {"rot": "x"},
            r"unknown key 'data\.rot'\. Did you mean 'data\.root'\? Keys of data: root, fit",
        ),
        ("toy.base.Base", {}, r"data\.root: expected a value, found none"),
        ("toy.base.Base", {"root": 3}, r"data\.root: expected str, found 3"),
        ("toy.base.Base", {"root": "x", "fit": "crup"}, r"data\.fit: expected one of crop, pad, found 'crup'.*'crop'"),
        ("toy.base.Base", {"root": "x", "size": [1, 2, 3]}, r"data\.size: expected int or a list \[int, int\], found"),
        ("toy.base.Base", {"seed": 1, "root": "x"}, r"unknown key 'data\.seed'"),
        ("toy.base.Bsae", {}, r"data\._target_: no 'Bsae' in toy\.base\. Did you mean 'Base'\?"),
        ("toy.base.value", {}, r"data\._target_: no 'value' in toy\.base"),
        ("toy.bsae.Base", {}, r"data\._target_: .* no module 'toy\.bsae'"),
        ("toy.base._Private", {}, r"data\._target_: .* is private"),
    ],
)
def test_wrong_arguments(target: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_target(target, given, "data")


def of(text: str) -> Any:
    return annotation_type(ast.parse(text, mode="eval").body)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong", "words"),
    [
        ("int", [3, -1], [3.0, True, "3", None], "int"),
        ("float", [3, 3.5], [True, "3", None, float("nan"), float("inf")], "float"),
        ("bool", [True], [1, "true"], "bool"),
        ("str", ["", "x"], [1, None], "str"),
        ("int | None", [3, None], ["x"], "int or null"),
        ("Optional[float]", [3, None], ["x"], "float or null"),
        ("Union[int, str]", [3, "x"], [None, 1.5], "int or str"),
        ("'int | None'", [3, None], ["x"], "int or null"),
        ("list[int]", [[], [1]], [1, [1.5], ["x"]], "a list of int"),
        ("Sequence[float]", [[1, 2.5]], [(), "ab"], "a list of float"),
        ("tuple[int, int]", [[1, 2]], [[1], [1, 2, 3], [1, "x"], 1], "a list [int, int]"),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["x"]], "a list of int"),
        ("dict[str, int]", [{}], [3], "a mapping"),
        ("Literal['a', 'b']", ["a"], ["c", None], "one of a, b"),
        ("Literal['a'] | list[float]", ["a", [0.5]], ["b", [None]], "a or a list of float"),
        ("Annotated[int, 'pixels']", [3], ["x"], "int"),
        ("Annotated[int, Field(ge=1)]", [1], [0], "int of at least 1"),
        ("Annotated[float, Field(gt=0, lt=1)]", [0.5], [0, 1], "float above 0 and below 1"),
        ("Annotated[float, Field(ge=0, le=1)]", [0, 1], [-0.1, 1.1], "float from 0 to 1"),
        ("list[Annotated[int, Field(ge=1)]]", [[1]], [[1, 0]], "a list of int of at least 1"),
        ("Annotated[list[int], Field(min_length=1)]", [[1]], [[]], "a list of int with at least 1"),
        ("Annotated[list[int], Field(min_length=2, max_length=2, description='[y, x]')]", [[1, 2]], [[1]], "[y, x]"),
        ("typing.Any", [3, None, []], [], "Any"),
        ("torch.Tensor", [3, None], [], "Any"),
    ],
)
def test_types_and_bounds(annotation: str, right: list[Any], wrong: list[Any], words: str) -> None:
    assert all(fits(of(annotation), value) for value in right)
    assert not any(fits(of(annotation), value) for value in wrong)
    assert describe(of(annotation)) == words


def loaded(path: Path) -> Any:
    """The data of a task, or what a choice is called with."""
    node: Any = OmegaConf.to_container(OmegaConf.load(path))
    return node["data"] if path.parent.name == "task" else node


# Every class and function that conf/ names.
NAMED = sorted(
    (path, node["_target_"])
    for path in (ROOT / "conf").glob("*/*.yaml")
    for node in [loaded(path) if path.parent.name not in ("augment", "experiment", "model") else {}]
    if "_target_" in node
)


def bounds_of(annotation: Any, listed: bool = False) -> Iterator[tuple[Any, Any, bool]]:
    """Yield each annotation of a number, a value just outside of its bounds, and whether it is one of a list."""
    listed = listed or typing.get_origin(annotation) is list
    if typing.get_origin(annotation) is typing.Annotated:
        for limit in [limit for item in annotation.__metadata__ for limit in getattr(item, "metadata", ())]:
            for name, step in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                if (bound := getattr(limit, name, None)) is not None:
                    yield annotation, bound + step, listed
    for inner in typing.get_args(annotation):
        yield from bounds_of(inner, listed)


@pytest.mark.parametrize(("path", "target"), NAMED, ids=lambda item: getattr(item, "stem", "").replace("_", " "))
def test_every_argument_takes_its_default_and_refuses_what_is_out_of_bounds(
    path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visionlab.config.signature.OURS", "visionlab")
    found, more = arguments(target)
    given = defaults(path.stem)["data"] if path.parent.name == "task" else loaded(path)
    assert not more
    assert set(given) - {"_target_"} <= set(found)
    for name, argument in found.items():
        if given.get(name, "???") != "???":
            assert fits(argument.annotation, given[name]), name
        for number, outside, listed in bounds_of(argument.annotation):
            assert not fits(number, outside), f"{name}={outside}"
            assert not fits(argument.annotation, [outside] if listed else outside)


def test_arguments_of_transforms_are_understood() -> None:
    unknown = [
        f"{name}.{argument}"
        for name in transforms.transform_names()
        for argument, (annotation, _) in transforms.transform_arguments(name).items()
        if annotation is not None and annotation_type(annotation) is Any
    ]
    assert len(unknown) < 20, unknown


def test_catalogues_agree_with_the_libraries() -> None:
    import inspect

    import albumentations
    import timm

    assert set(timm.list_models()) <= catalog.timm_names()
    assert "a1_in1k" in catalog.timm_tags("resnet50")
    assert catalog.timm_tags("resnet50_") == ()
    for name in transforms.transform_names() - {"ToTensorV2", "ToTensor3D"}:
        real = inspect.signature(getattr(albumentations, name).__init__).parameters
        assert set(transforms.transform_arguments(name)) == set(real) - {"self"}, name
