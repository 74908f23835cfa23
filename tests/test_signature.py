"""Reading what a class takes from its source, on small packages written here, and on the real libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from visionlab.config.annotations import accepts, describe
from visionlab.config.signature import Sources
from visionlab.errors import ConfigError
from visionlab.models import catalog

BASE = """
from typing import Any, Literal, Sequence
import a_module_that_does_not_exist
from .types import Size

Fit = Literal["crop", "pad"]

class Base:
    targets = {"depth": ("near", "far")}
    kind: str = "dense"
    computed = tuple(range(3))

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


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    package = tmp_path / "toy"
    (package / "sub").mkdir(parents=True)
    (package / "__init__.py").write_text("from toy.base import Plain as Renamed\n")
    (package / "types.py").write_text("Size = int | tuple[int, int]\n")
    (package / "base.py").write_text(BASE)
    (package / "sub" / "__init__.py").write_text("from ..base import function\nfrom .leaf import Leaf\n")
    (package / "sub" / "leaf.py").write_text("from toy import base\nfrom ..base import Plain\nclass Leaf(Plain): ...\n")
    return Sources(tmp_path, "toy")


def test_keyword_only_arguments_are_the_configuration(sources: Sources) -> None:
    assert list(sources.arguments("toy.base.Base")) == ["root", "fit", "size", "other"]
    assert {name: item.required for name, item in sources.arguments("toy.base.function").items()} == {
        "rate": True,
        "name": False,
    }


@pytest.mark.parametrize("target", ["toy.base.Plain", "toy.Renamed", "toy.sub.leaf.Leaf", "toy.sub.Leaf"])
def test_an_initializer_is_found_through_bases_and_reexports(sources: Sources, target: str) -> None:
    assert list(sources.arguments(target)) == ["root", "fit", "size", "other"]


def test_double_star_adds_the_arguments_of_the_base(sources: Sources) -> None:
    arguments = sources.arguments("toy.base.More")
    assert set(arguments) == {"root", "fit", "size", "other", "extra"}
    assert not arguments["root"].required, "the class's own default wins"
    assert list(sources.arguments("toy.base.Closed")) == ["only"]


def test_literals_of_a_class(sources: Sources) -> None:
    assert sources.literal("toy.base.Plain", "targets") == {"mask": ("mask",)}
    assert sources.literal("toy.sub.Leaf", "kind") == "dense"
    assert sources.literal("toy.base.Base", "absent") is None
    with pytest.raises(ConfigError, match=r"expected a literal value, found tuple\(range\(3\)\)"):
        sources.literal("toy.base.Base", "computed")


@pytest.mark.parametrize(
    ("target", "given", "message"),
    [
        ("toy.base.Base", {"rot": "x"}, r"data\.rot: unknown key\. Did you mean 'root'\? Keys of data .*: root, fit"),
        ("toy.base.Base", {}, r"data\.root: expected a value, found none"),
        ("toy.base.Base", {"root": 3}, r"data\.root: expected str, found 3"),
        ("toy.base.Base", {"root": "x", "fit": "crup"}, r"data\.fit: expected one of crop, pad, found 'crup'.*'crop'"),
        ("toy.base.Base", {"root": "x", "size": [1, 2, 3]}, r"data\.size: expected int or a list \[int, int\], found"),
        ("toy.base.Base", {"seed": 1, "root": "x"}, r"data\.seed: unknown key"),
        ("toy.base.Bsae", {}, r"data\._target_: no 'Bsae' in toy\.base\. Did you mean 'Base'\?"),
        ("toy.base.value", {}, r"data\._target_: no 'value' in toy\.base"),
        ("toy.bsae.Base", {}, r"data\._target_: .* no module 'toy\.bsae'"),
        ("toy.base._Private", {}, r"data\._target_: .* is private"),
        ("os.system", {}, r"data\._target_: expected a name that begins with 'toy\.', found 'os\.system'"),
        ("toyota.Base", {}, r"data\._target_: expected a name that begins with 'toy\.'"),
    ],
)
def test_wrong_arguments(sources: Sources, target: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sources.check(target, given, "data")


def test_right_arguments(sources: Sources) -> None:
    sources.check("toy.base.Base", {"root": "x", "fit": "pad", "size": [3, 4], "other": object()}, "data")


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int", [3, -1], [3.0, True, "3", None]),
        ("float", [3, 3.5], [True, "3", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["", "x"], [1, None]),
        ("int | None", [3, None], ["x"]),
        ("Optional[float]", [3, None], ["x"]),
        ("Union[int, str]", [3, "x"], [None, 1.5]),
        ("'int | None'", [3, None], ["x"]),
        ("list[int]", [[], [1]], [1, [1.5], ["x"]]),
        ("Sequence[float]", [[1, 2.5]], [(), "ab"]),
        ("tuple[int, int]", [[1, 2]], [[1], [1, 2, 3], [1, "x"], 1]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["x"]]),
        ("dict[str, int]", [{}, {"a": 1}], [{"a": "x"}, [1]]),
        ("Mapping[str, Any]", [{"a": object()}], [3]),
        ("Literal['a', 1]", ["a", 1], ["b", True, None]),
        ("Literal['a'] | list[float]", ["a", [0.5]], ["b", [None]]),
        ("Annotated[int, 'pixels']", [3], ["x"]),
        ("typing.Any", [3, None, []], []),
        ("torch.Tensor", [3, None], []),
    ],
)
def test_types(annotation: str, right: list[Any], wrong: list[Any]) -> None:
    parsed = ast.parse(annotation, mode="eval").body
    assert all(accepts(parsed, value) for value in right)
    assert not any(accepts(parsed, value) for value in wrong)


def test_types_are_described_as_in_yaml() -> None:
    parsed = ast.parse("Literal['a', 'b'] | list[float] | tuple[int, int] | dict[str, int] | None", mode="eval").body
    assert describe(parsed) == "one of a, b or a list of float or a list [int, int] or a mapping to int or null"


def test_catalogues_agree_with_the_libraries() -> None:
    import inspect

    import albumentations
    import timm

    assert set(timm.list_models()) <= catalog.timm_names()
    assert "a1_in1k" in catalog.timm_tags("resnet50")
    assert catalog.timm_tags("resnet50_") == ()
    for name in catalog.transforms() - {"ToTensorV2", "ToTensor3D"}:
        real = inspect.signature(getattr(albumentations, name).__init__).parameters
        assert set(catalog.transform_arguments(name)) == set(real) - {"self"}, name


def test_catalogues_import_neither_torch_nor_the_libraries() -> None:
    code = (
        "import sys; from visionlab import catalog, models\n"
        "models.lookup('resnet34'), catalog.transforms(), catalog.transform_arguments('D4')\n"
        "print([name for name in ('torch', 'timm', 'albumentations') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
