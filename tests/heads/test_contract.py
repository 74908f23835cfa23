"""What every kind of head keeps to, whatever it predicts."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.heads import examples
from visionlab.config.compose import choice, conf_dir
from visionlab.data.definition import Target
from visionlab.errors import UsageError
from visionlab.heads import KINDS, head_class, load
from visionlab.heads.head import Head
from visionlab.inference.predictor import merge
from visionlab.losses import LOSSES
from visionlab.modules.task_module import make_loss

LOSS = {path.stem: choice("loss", "loss", path.stem) for path in sorted((conf_dir() / "loss").glob("*.yaml"))}
every_kind = pytest.mark.parametrize("kind", KINDS)


def suits(kind: str, loss: str) -> bool:
    """Return whether the configuration lets a head of this kind have a loss."""
    name, one = LOSS[loss]["_target_"], KINDS[kind]
    entry = LOSSES[name]
    return (
        (one.dense or not entry.dense)
        and (one.classes or not entry.labels)
        and (one.binary or entry.takes == "values")
        and name not in one.unsuited
    )


PAIRS = [(kind, loss) for kind in KINDS for loss in LOSS if suits(kind, loss)]


# The table ----------------------------------------------------------------------------------------------------------


def test_the_table_is_light() -> None:
    code = "import sys, visionlab.heads; print([name for name in ('torch', 'pandas', 'scipy') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@every_kind
def test_what_the_table_names_is_there(kind: str) -> None:
    entry = KINDS[kind]
    assert entry.name == kind == str(entry)
    assert head_class(kind).kind is entry
    assert isinstance(load(entry.target), Target)
    assert (load(entry.target).reader is not None) == entry.dense, "maps are read from files, numbers from the index"
    assert set(entry.while_training) <= set(entry.metrics)
    assert all(option.default in option.choices for option in entry.options.values())
    assert entry.unsuited.keys() <= LOSSES.keys()
    assert any(found == kind for found, _ in PAIRS), "some loss suits it"


# Plain data ---------------------------------------------------------------------------------------------------------


@every_kind
def test_it_is_rebuilt_from_plain_data_and_weights(kind: str) -> None:
    one = examples.head(kind)
    if one.fits:
        one.fit(examples.split(one, one.decode(examples.raw(one)), fitted_on=True))
    content = json.loads(json.dumps(one.spec()))
    head_class(kind).check_spec("target", content)
    again = head_class(content["kind"]).from_spec("target", content)
    again.load_state_dict(one.state_dict())
    assert again.spec() == one.spec() == content
    assert json.dumps(again.describe()) == json.dumps(one.describe())
    raw = examples.raw(one)
    assert torch.equal(again.decode(raw), one.decode(raw))
    assert again.describe()["kind"] == kind


@every_kind
def test_changed_plain_data_are_refused_by_their_key(kind: str) -> None:
    good = examples.spec(kind)
    head_class(kind).check_spec("target", good)
    changes: list[tuple[str, Any]] = [(key, value) for key in good if key != "kind" for value in ({"a": 1}, b"", True)]
    changes += [("activation", "relu"), ("metrics", ["no_metric"]), ("metrics", [1]), ("columns", [1])]
    changes += [(key, "no_option") for key in KINDS[kind].options]
    if KINDS[kind].dense:
        changes += [("columns", ["another"]), ("columns", [*good["columns"], "more"])]
    for key, value in changes:
        with pytest.raises(ValueError, match=rf"^heads\.target\.{key}: expected .*, found "):
            head_class(kind).check_spec("target", {**good, key: value})
    for key in good.keys() - {"kind"}:
        with pytest.raises(ValueError, match=rf"^heads\.target\.{key}: expected .*, found None"):
            head_class(kind).check_spec("target", {name: value for name, value in good.items() if name != key})


# Training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "loss"), PAIRS)
def test_losses_are_finite_have_gradients_and_ignore_what_is_unknown(kind: str, loss: str) -> None:
    one, target, function = examples.head(kind), examples.target(kind), make_loss(LOSS[loss])
    one.prepare(function)
    unknown = target.isnan()
    found = []
    for far in (False, True):
        raw = examples.raw(one)
        if far:
            raw = torch.where(unknown.expand_as(raw), 100 * torch.randn(raw.shape), raw) if one.kind.dense else raw
        raw.requires_grad_()
        value = one.loss(raw, target, function)
        value.backward()
        assert raw.grad is not None
        assert value.isfinite() and raw.grad.isfinite().all()
        assert raw.grad.abs().sum() > 0
        if one.kind.dense:
            assert not raw.grad[unknown.expand_as(raw)].any()
        found.append((value.detach(), raw.grad))
    assert found[0][0] > 0
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize(("kind", "loss"), [(kind, loss) for kind, loss in PAIRS if KINDS[kind].dense])
def test_a_batch_of_which_nothing_is_known_changes_nothing(kind: str, loss: str) -> None:
    one = examples.head(kind)
    raw = examples.raw(one).requires_grad_()
    value = one.loss(raw, torch.full_like(examples.target(kind), torch.nan), make_loss(LOSS[loss]))
    value.backward()
    assert value == 0 and raw.grad is not None and not raw.grad.any()


@every_kind
def test_decoded_values_have_the_shape_of_raw_ones_and_a_range(kind: str) -> None:
    for activation in KINDS[kind].activations:
        one = examples.head(kind, activation=activation)
        raw = examples.raw(one)
        decoded, extreme = one.decode(raw), one.decode(1000 * raw)
        assert decoded.shape == extreme.shape == raw.shape
        assert decoded.isfinite().all()
        if KINDS[kind].binary:
            assert extreme.min() >= 0 and extreme.max() <= 1
        assert decoded.std() > 0


@every_kind
def test_rows_of_parts_are_those_of_the_whole(kind: str) -> None:
    one, target = examples.head(kind), examples.target(kind)
    decoded = one.decode(examples.raw(one))
    whole = one.rows(decoded, target)
    parts = [one.rows(decoded[k : k + 1], target[k : k + 1]) for k in range(len(target))]
    assert whole.shape[0] == len(target)
    assert torch.allclose(torch.cat(parts), whole, rtol=1e-6)
    measured = one.measure(whole.double().numpy())
    assert set(measured) == set(one.metrics) & set(one.kind.while_training)
    assert np.isfinite(list(measured.values())).all()
    assert one.baseline(target).shape == target.shape


# After training -----------------------------------------------------------------------------------------------------


@every_kind
def test_only_what_says_so_is_fitted(kind: str) -> None:
    one = examples.head(kind)
    before = copy.deepcopy(one.state_dict())
    one.fit(examples.split(one, one.decode(examples.raw(one)), fitted_on=True))
    changed = [name for name, value in one.state_dict().items() if not torch.equal(value, before[name])]
    assert bool(changed) == one.fits
    assert bool(examples.head(kind).warnings()) == one.fits, "that nothing was fitted is said"
    assert not any("never fitted" in text for text in one.warnings())


@every_kind
def test_what_is_right_is_measured_as_right(kind: str) -> None:
    """Perfect predictions have the best values, better than those of the baseline, and stand in the tables."""
    one = examples.head(kind)
    split = examples.split(one, examples.decoded_truth(one))
    found = one.evaluate(split)
    entries = json.loads(json.dumps(one.summarise(found, split.groups)))
    assert set(one.metrics) <= set(entries)
    several = {f"{column}/{name}" for column in one.columns for name in one.metrics}
    assert set(entries) - set(one.metrics) in (set(), several)
    best = {"max": 1.0, "min": 0.0, "zero": 0.0}
    for name, entry in entries.items():
        assert set(entry) >= {"value", "low", "high", "baseline", "n", "groups", "better", "unit"}
        if not name.endswith("_gain"):
            assert entry["value"] == pytest.approx(best[entry["better"]], abs=2e-3), name
        assert entry["unit"] in ("", one.unit)
    assert any(entry["value"] != entry["baseline"] for entry in entries.values())
    table = one.table(found.model)
    assert table and all(len(values) == examples.COUNT for values in table.values())
    assert all(len(rows) > 0 for rows in found.tables.values())


@every_kind
def test_values_of_an_image_have_names_and_units(kind: str) -> None:
    one = examples.head(kind)
    decoded = one.decode(examples.raw(one)).numpy()[0]
    values = one.values(decoded)
    assert values and all(isinstance(value, float) and isinstance(unit, str) for value, unit in values.values())
    shown = one.map(decoded)
    assert (shown is not None) == one.kind.dense
    assert shown is None or shown.shape == (examples.SIZE, examples.SIZE)
    decided = one.decided(decoded)
    assert (decided is not None) == one.kind.classes == bool(one.class_numbers)
    assert set(decided or ()) <= set(one.columns)
    assert set(one.curves) <= set(values)


# Files --------------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("tif", [False, True])
def test_maps_are_written_and_say_what_they_hold(kind: str, tif: bool, tmp_path: Path) -> None:
    one = examples.head(kind)
    about = one.about_files(tif)
    if about is None:
        return
    shown = one.map(examples.decoded_truth(one).numpy()[0])
    assert shown is not None
    one.write(shown, tmp_path / "a.b", tif)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("a.b.")
    assert json.dumps(about)
    again = read_back(kind, file, float(about.get("step", 1.0)))
    assert again == pytest.approx(shown, abs=float(about.get("step", 0)) / 2 + 1e-6)
    image = np.random.default_rng(0).random((*shown.shape, 3))
    drawn = one.overlay(image, shown)
    assert drawn.shape == image.shape and drawn.min() >= 0 and drawn.max() <= 1
    assert not np.array_equal(drawn, image)


def read_back(kind: str, file: Path, step: float) -> np.ndarray[Any, Any]:
    """Return the values of a written map, read as training would read them."""
    from visionlab.data.preprocess import Preprocess

    side = examples.SIZE
    options: dict[str, dict[str, Any]] = {"mask": {"threshold": None}, "depth": {"invalid": "none"}}
    reader = load(KINDS[kind].target).reader([((side, side), (side, side))], **options.get(kind, {}))
    return np.asarray(reader.read(file, 0, Preprocess(1, side, side, "stretch", "float32"))[0][..., 0] * step)


# Several models -----------------------------------------------------------------------------------------------------


@every_kind
def test_two_models_give_the_mean(kind: str) -> None:
    heads = [examples.head(kind), examples.head(kind)]
    (merged,) = merge([[head] for head in heads], ["a", "b"])
    total: dict[str, np.ndarray[Any, Any]] = {}
    each = [head.decode(examples.raw(head, seed)).numpy()[0] for seed, head in enumerate(heads)]
    for number, decoded in enumerate(each):
        merged.add(number, {"target": decoded}, total)
    assert merged.mean(total) == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    assert merged.head.columns == heads[0].columns
    assert merged.head.values(merged.mean(total)).keys() == heads[0].values(each[0]).keys()


@every_kind
def test_what_says_other_things_is_not_merged(kind: str) -> None:
    one = examples.head(kind)
    other: Head = examples.head(kind, unit="furlong")
    with pytest.raises(UsageError, match="b: its head target has the unit 'furlong', that of a"):
        merge([[one], [other]], ["a", "b"])
    for name in KINDS.keys() - {kind}:
        with pytest.raises(UsageError, match=f"b: its head target has the kind '{name}', that of a '{kind}'"):
            merge([[one], [examples.head(name)]], ["a", "b"])
