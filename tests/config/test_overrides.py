"""What is typed: texts of any characters, numbers and words that are names, and what a message advises to type."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from visionlab.config.compose import compose, compose_run
from visionlab.config.overrides import parse, quoted, trusted
from visionlab.errors import ConfigError
from visionlab.training.registry import REGISTRY

TEXTS = [
    *("/x/caf\u00e9", "/x/\u65e5\u672c", "/x/a&b,c", "/x/a;b", "/x/a#b", "/x/a,b", "/x/a=b", "/x/a b", "~/x", "/x/a$b"),
    *("/x/it's", '/x/"so"', '/x/it\'s "so"', "/x/[a]", "/x/{a}", "/x/(a)", "/x/a\\b", "/x/a*b?", "/x/a!b", "/x/a|b"),
    *("/x/a:b", "/x/a\\'b", "[a]b", "{a", "'x'y", "a\\", "it's\\"),
]


@pytest.fixture(scope="module")
def typed() -> dict[str, str]:
    """What a command gets for each text that is quoted as advised, by way of a shell."""
    words = " ".join(quoted("data.root", text) for text in TEXTS)
    script = "import sys; print('\\0'.join(sys.argv[1:]), end='')"
    done = subprocess.run(
        f'"{sys.executable}" -c "{script}" {words}', shell=True, capture_output=True, text=True, check=True
    )
    return dict(zip(TEXTS, done.stdout.split("\0"), strict=True))


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_can_be_typed_as_advised(text: str, typed: dict[str, str]) -> None:
    (item,) = parse([typed[text]])
    assert item.value() == text
    assert compose([typed[text]]).data.root == text


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_needs_quotes_is_answered_with_them(text: str) -> None:
    try:
        value: Any = compose([f"data.root={text}"]).data.root
    except ConfigError as error:
        assert quoted("data.root", text) in str(error)
    else:
        assert value == text or text.startswith(("[", "{", "'"))


def test_advised_paths_are_found_by_the_command(tmp_path: Path) -> None:
    folder = tmp_path / "a&b;c,d#\u00e9"
    folder.mkdir()
    with pytest.raises(ConfigError) as caught:
        compose([f"data.root={folder}"])
    advised = re.search(r".*('data\.root=.*)", str(caught.value))
    assert advised is not None
    check = "import sys; from visionlab.config.compose import compose_run as run; "
    check += "from visionlab.training.registry import REGISTRY as all; print(run(sys.argv[1:], all)[0].data.root)"
    done = subprocess.run(
        f"{sys.executable} -c '{check}' {advised[1]}", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(folder), done.stderr


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("data.exclude=[101]", "exclude", ["101"]),
        ("data.exclude=[null]", "exclude", ["null"]),
        ("data.exclude=[on,off,yes,true]", "exclude", ["on", "off", "yes", "true"]),
        ("data.include=[007,1e3,1.50,plate1*]", "include", ["007", "1e3", "1.50", "plate1*"]),
        ("data.include=[ 1 , 'a,b', \"2\"]", "include", ["1", "a,b", "2"]),
        ("data.exclude=[]", "exclude", []),
        ("task=protein_atlas data.class_names=[1,2,3]", "class_names", ["1", "2", "3"]),
        ("task=protein_atlas data.class_names=null", "class_names", None),
        ("task=protein_atlas data.classes=[1,2]", "classes", [1, 2]),
        ("data.image_size=[64,64]", "image_size", [64, 64]),
        ("data.normalize=[0.5,0.25]", "normalize", [0.5, 0.25]),
    ],
)
def test_numbers_and_words_are_names_where_names_are_expected(override: str, key: str, expected: Any) -> None:
    cfg, _ = compose_run(_words(override), REGISTRY)
    assert cfg.data[key] == expected


def _words(line: str) -> list[str]:
    task, space, rest = line.partition(" data.")
    return [task, f"data.{rest}"] if space and task.startswith("task=") else [line]


def test_a_folder_may_be_called_by_a_number() -> None:
    assert compose(["data.root=2024"]).data.root == "2024"
    assert compose(["heads.distance.unit=1"]).heads.distance.unit == "1"
    assert compose(["data.split_file=null"]).data.split_file is None


def test_what_is_trusted_stands_among_the_words_of_a_command() -> None:
    assert trusted(["run", "trust=[a,b]", "image.png"]) == (["a", "b"], ["run", "image.png"])
    assert trusted(["trust=a"]) == (["a"], [])
