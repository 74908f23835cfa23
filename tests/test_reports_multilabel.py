"""Reports and pictures of heads of labels, from predictions made up here without training anything."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.text import Text

from tests.entries import summarise
from tests.test_reports import EVIL, requests, titles, write_events
from visionlab.drawing.stains import composite
from visionlab.drawing.style import save
from visionlab.files import write_json
from visionlab.metrics import METRICS
from visionlab.metrics.multilabel import class_table
from visionlab.metrics.thresholds import f1_thresholds
from visionlab.reports import write_report
from visionlab.reports.caveats import caveats
from visionlab.reports.class_table import class_tables, gains
from visionlab.reports.data import write_data_report
from visionlab.reports.data_figures import label_counts
from visionlab.reports.doubts import loss, suspects, uncertainty
from visionlab.reports.figures import FIGURES, Labelled, Part, metric_bars, validation_figures
from visionlab.reports.label_matrices import occurring_together, taken_for
from visionlab.reports.labelled import FALSE, FOUND, MISSED, Tagged, heated, line, looked_at, tagged_images
from visionlab.reports.multilabel import calibration_curves, f1_by_class
from visionlab.reports.precision_recall import precision_recall
from visionlab.reports.run import read_run

NAMES = ("Nucleoplasm", "Cytosol", "A class with a name, long beyond any axis", "Golgi", "Rods & rings", EVIL)
SPLITS = {"train": 400, "val": 120, "test": 150}


def drawn(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, ever rarer from class to class, and scores that know something of them but are too low."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, classes))
    hidden[:, 1:] += 0.5 * hidden[:, :1]
    shares = 0.5 * 0.55 ** np.arange(classes)
    true = hidden > np.quantile(hidden, 1 - shares, axis=0).diagonal()
    logit = np.log(shares / (1 - shares)) - 1.5 + 3 * true + rng.normal(size=(n, classes))
    return true, (1 / (1 + np.exp(-logit))).astype(np.float32)


def thresholds_of(true: np.ndarray, scores: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in f1_thresholds(scores, true)[0]]


def spec_of(names: tuple[str, ...], thresholds: list[float | None], positives: list[int]) -> dict[str, Any]:
    return {
        "kind": "multilabel",
        "columns": list(names),
        "ids": [3 * k for k in range(len(names))],
        "unit": "",
        "metrics": list(METRICS["multilabel"]),
        "thresholds": thresholds,
        "fitted": True,
        "method": "f1",
        "calibration": [[1.0, 0.0]] * len(names),
        "positives": positives,
        "total": SPLITS["train"],
    }


def rows_of(true: np.ndarray, scores: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    limits = np.array([np.nan if value is None else value for value in spec["thresholds"]])
    return np.concatenate([true, scores, scores >= limits], axis=1).astype(float)


def table_of(rows: np.ndarray, names: tuple[str, ...], split: str) -> pd.DataFrame:
    """predictions/<split>.csv"""
    ids = [f"{split}{i}" for i in range(len(rows))]
    table: dict[str, Any] = {"id": ids, "group": ids, "split": split, "path": ids}
    true, scores, decided = np.split(rows, 3, axis=1)
    for k, name in enumerate(names):
        table |= {f"{name}_true": true[:, k].astype(int), f"{name}_pred": decided[:, k].astype(int)}
        table[f"{name}_score"] = scores[:, k]
    return pd.DataFrame(table)


def part_of(n: int, classes: int, *, absent: int = 0, undefined: int = 0) -> Part:
    """A test split; the last ``absent`` classes have no image there, the ``undefined`` before them no threshold."""
    names = tuple(f"A class with a long name {k}" for k in range(classes))
    true, scores = drawn(n, classes, 0)
    true[:, classes - absent :] = False
    thresholds = thresholds_of(*drawn(n, classes, 1))
    thresholds[classes - absent - undefined : classes - absent] = [None] * undefined
    spec = spec_of(names, thresholds, [9] * classes)
    rows = rows_of(true, scores, spec)
    table = table_of(rows, names, "test")
    classes_of = class_table(rows, spec, table["group"])
    return Part(table, "labels", "labels", spec, "test", {}, synthetic=True, classes=classes_of)


def make_run(path: Path) -> Path:
    """Write a run folder: the last class isn't in validation, the one before not in test."""
    parts = {split: drawn(n, len(NAMES), seed) for seed, (split, n) in enumerate(SPLITS.items())}
    parts["val"][0][:, -1] = False
    parts["test"][0][:, -2] = False
    positives = parts["train"][0].sum(axis=0).tolist()
    spec = spec_of(NAMES, thresholds_of(*parts["val"]), positives)
    (path / "predictions").mkdir(parents=True)
    metrics: dict[str, Any] = {}
    index = []
    for split, (true, scores) in parts.items():
        rows = rows_of(true, scores, spec)
        table = table_of(rows, NAMES, split)
        index.append(
            table[["id", "group", "split", "path"]].assign(**dict(zip(NAMES, true.T.astype(int), strict=True)))
        )
        if split == "train":
            continue
        base = np.concatenate([true, np.tile(parts["train"][0].mean(axis=0), (len(true), 1)), np.nan * scores], axis=1)
        metrics |= summarise({"labels": (rows, base)}, {"labels": spec}, table["group"], split, "generated sample")
        table.to_csv(path / "predictions" / f"{split}.csv", index=False)
        class_table(rows, spec, table["group"]).to_csv(path / "predictions" / f"{split}_classes.csv", index=False)
    write_json(path / "metrics.json", metrics)
    pd.concat(index).to_csv(path / "data_index.csv", index=False)
    config = {"task": "protein_atlas", "model": {"name": "resnet18"}, "optimizer": {"lr": 1e-3}, "monitor": "val/loss"}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(path / "status.json", {"state": "finished", "epoch": 2, "step": 20, "message": "", "resume": ""})
    info = {"command": "python -m visionlab.train", "data": "generated sample", "synthetic": True}
    write_json(path / "run.json", {**info, "heads": {"labels": spec}})
    groups = {split: [f"{split}{i}" for i in range(n)] for split, n in SPLITS.items()}
    write_json(path / "splits.json", {**groups, "unused": [], "source": "dealt by labels"})
    counts = {
        name: {split: int(true[:, k].sum()) for split, (true, _) in parts.items()} for k, name in enumerate(NAMES)
    }
    about = {"images": {"min": 0, "max": 255, "mean": 20.0, "std": 30.0}, "targets": {}}
    card = {"n": 670, "groups": 670, "bytes": 10**7, "dtypes": {"uint8": 670}, "shapes": {"64x64": 670}, "notes": []}
    splits = {split: {"samples": n, "groups": groups[split], **about} for split, n in SPLITS.items()}
    write_json(path / "data_card.json", {**card, "splits": splits, "labels": {"labels": counts}})
    write_events(path, {"val/labels/map": [(9, 0.2), (19, 0.3)], "val/loss": [(9, 0.4), (19, 0.3)]})
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    for name in ("examples", *FIGURES["multilabel"].pictures):
        save(tagged_images({"": [Tagged(picture, "a", [])]}, name, ""), path / "plots" / f"{name}.png")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("outputs") / "atlas")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def cells(page: str, row: str) -> list[str]:
    """The texts of the first table row that begins with these words."""
    found = re.search(rf"<tr><th[^>]*>{re.escape(row)}</th>(.*?)</tr>", page, re.DOTALL)
    assert found, row
    return [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<td.*?</td>", found[1], re.DOTALL)]


# The page -------------------------------------------------------------------------------------------------------------


def test_every_class_has_its_row(run: Path, page: str) -> None:
    table = pd.read_csv(run / "predictions" / "test_classes.csv").set_index("class")
    row = table.loc["Cytosol"]
    number, train, threshold, support, precision, recall, f1, half, ap, expected = cells(page, "Cytosol")
    assert (number, train, support) == ("3", f"{row['train']:.0f}", f"{row['support']:.0f}")
    named = {threshold: "threshold", precision: "precision", recall: "recall", half: "f1_half", ap: "ap"}
    for text, column in {**named, expected: "expected_f1"}.items():
        assert float(text) == pytest.approx(row[column], abs=6e-4), column
    assert f1 == f"{row['f1']:.3f} [{row['f1_low']:.3f}, {row['f1_high']:.3f}]"
    unknown = cells(page, "Rods &amp; rings")
    assert unknown[3] == "0"
    assert unknown[4:9] == ["–"] * 5  # without images nothing is 0 or 1
    assert 'class="num soft">undefined</td>' in page
    assert "Validation images, labels" in page


def test_the_honest_gain_is_told(run: Path, page: str) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    gain = gains(read_run(run))[0]
    entry = metrics["test/labels/f1_macro_gain"]
    assert entry["low"] > 0
    assert gain["key"] == "good"
    assert [row["classes"] for row in gain["rows"]] == ["5 of 6", "5 of 6"]
    assert "thresholds fitted on validation images" in gain["rows"][0]["where"]
    assert "nested folds" in gain["rows"][1]["where"]
    assert "No threshold, because no validation image has it, so never predicted: &lt;script&gt;" in page
    assert "are left out of its means" in page
    assert "that training did not see; 5 of 6 classes count" in page
    assert "<h2>What the thresholds gain</h2>" in page


@pytest.mark.parametrize(
    ("low", "high", "key", "words"),
    [
        (-0.01, 0.09, "unsure", "may be chance"),
        (None, None, "unsure", "with one group nothing says"),
        (-0.2, -0.1, "bad", "lose 0.150 macro F1"),
    ],
)
def test_a_gain_that_is_none_is_not_called_one(
    run: Path, low: float | None, high: float | None, key: str, words: str
) -> None:
    read = read_run(run)
    value = 0.04 if key == "unsure" else -0.15
    read.metrics["test/labels/f1_macro_gain"] |= {"value": value, "low": low, "high": high}
    found = gains(read)[0]
    assert found["key"] == key
    assert words in found["words"]


def test_given_thresholds_are_not_called_fitted(run: Path) -> None:
    read = read_run(run)
    read.info["heads"]["labels"] |= {"method": 0.3, "fitted": True}
    assert all("given, not fitted" in row["where"] for row in gains(read)[0]["rows"])


def test_thresholds_fitted_on_the_only_group_are_not_called_nested(run: Path) -> None:
    read = read_run(run)
    read.metrics["val/labels/f1_macro"] |= {"groups": 1}
    test, val = gains(read)[0]["rows"]
    assert "flatter" in val["where"] and "nested" not in val["where"]
    assert "flatter" not in test["where"]


def test_what_is_not_known_of_classes_is_said(run: Path) -> None:
    read = read_run(run)
    read.info["heads"]["labels"]["positives"][3] = 0
    text = " ".join(caveats(read))
    assert "1 of 6 classes of labels have no training image and cannot be learnt: Golgi." in text
    assert "1 of 6 classes of labels have no test image; how well they are found is unknown: Rods & rings." in text
    few = int((read.classes["val"]["support"].between(1, 9)).sum())
    assert few
    assert f"The thresholds of {few} of 6 classes of labels rest on fewer than 10 validation images each" in text


def test_the_data_section_counts_labels(page: str) -> None:
    start = page.index("<h2>Data</h2>")
    total, train, _, test = cells(page[start:], "Rods &amp; rings")
    assert test.startswith("0 (")
    even = int(total) * SPLITS["train"] / 670
    assert train == f"{int(train.split()[0])} ({even:.1f})"
    assert "and 340 more (see splits.json)" in page  # of 400 groups
    assert "train399" not in page
    assert "<th>Targets</th>" not in page  # labels have no range


def test_the_page_is_whole_and_safe(run: Path, page: str) -> None:
    assert requests(page) == []
    assert "<script" not in page
    assert "Not available" not in page
    names = {path.name for path in (run / "plots").iterdir()}
    figures = {f"test_labels_{drawing.key}.png" for drawing in FIGURES["multilabel"].drawings}
    assert figures | {"targets_labels.png", "targets_labels_together.png"} <= names
    assert not [name for name in names if "Cytosol" in name]  # one figure for all classes, not one for each
    assert page.count("data:image/png;base64,") == 5 + 4 + 1 + 3  # of predictions, pictures, training, data


def test_tables_may_be_missing_or_of_other_classes(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "predictions" / "test_classes.csv").write_text("class,f1\nOther,0.5\n")
    (copy / "predictions" / "val_classes.csv").unlink()
    read = read_run(copy)
    assert class_tables(read) == []
    (copy / "metrics.json").write_text("{}")
    assert gains(read_run(copy)) == []


def test_the_data_report_before_training(run: Path, tmp_path: Path) -> None:
    read = read_run(run)
    folder = tmp_path / "data"
    (folder / "plots").mkdir(parents=True)
    shutil.copy(run / "plots" / "examples.png", folder / "plots")
    spec = {"kind": "multilabel", "unit": "", "columns": list(NAMES), "ids": list(range(6))}
    read.path, read.info = folder, {"data": "d", "synthetic": True, "heads": {"labels": spec}}
    text = write_data_report(read, [], []).read_text(encoding="utf-8")
    assert cells(text, "Golgi")
    assert text.count("data:image/png;base64,") == 3
    read.info["heads"]["labels"] |= {"columns": ["Golgi"], "ids": [3]}
    text = write_data_report(read, [], []).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2
    assert "occur together" not in text


# Figures --------------------------------------------------------------------------------------------------------------


def words(figure: Figure) -> str:
    """Every text of a figure."""
    return " | ".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def test_figures_of_many_classes(tmp_path: Path) -> None:
    part = part_of(600, 28, absent=2, undefined=1)
    figures = FIGURES["multilabel"]
    assert figures.parts("labels", part.spec["columns"]) == {"labels": "labels"}
    shown = figures.read(part)
    assert isinstance(shown, Labelled)
    for drawing in figures.drawings:
        figure = drawing.draw(shown)
        assert "generated sample" in titles(figure)
        if drawing.key == "f1":
            assert words(figure).count("no image, so no F1") == 2
            assert words(figure).count("no threshold: never predicted") == 1
            rows = np.concatenate([shown.true, shown.scores, shown.decided], axis=1)
            value = METRICS["multilabel"]["f1_macro"](rows)
            assert f"at the fitted threshold: macro {value:.3f}" in words(figure)
            assert save(figure, tmp_path / "f1.png").stat().st_size > 20_000
        if drawing.key == "precision_recall":
            assert words(figure).count("AP ") == 26
            assert "without images, not drawn: 2" in words(figure)
            assert "no threshold" in words(figure)


@pytest.mark.parametrize("classes", [1, 2])
def test_figures_of_few_classes(tmp_path: Path, classes: int) -> None:
    shown = Labelled.of(part_of(40, classes))
    for drawing in FIGURES["multilabel"].of(shown):
        figure = drawing.draw(shown)
        assert "generated sample" in titles(figure)
    assert save(figure, tmp_path / "last.png").stat().st_size > 5000


def test_the_commonest_class_is_first_and_keeps_what_is_its_own() -> None:
    part = part_of(200, 3)
    order = ("A class with a long name 2", "A class with a long name 0")
    table = part.table.rename(
        columns=lambda name: name.replace(*order) if "name 2" in name else name.replace(*order[::-1])
    )
    swapped = Labelled.of(Part(table, "labels", "labels", part.spec, "test", {}, synthetic=True))
    shown = Labelled.of(part)
    assert (np.diff(shown.support) <= 0).all()
    assert swapped.classes[0] == "A class with a long name 2"
    np.testing.assert_array_equal(swapped.scores, shown.scores)
    assert np.isnan(swapped.f1_ends).all()  # no table of classes, no intervals
    np.testing.assert_allclose(shown.f1_ends[0, 0], part.classes["f1_low"].iloc[0])  # type: ignore[index]


def test_a_class_without_threshold_keeps_its_mark_at_a_half_in_sight() -> None:
    true = np.zeros((20, 1), bool)
    true[:4] = True
    scores = np.where(np.arange(20) % 5 < 2, 0.6, 0.2)[:, None]  # F1 of 1/3 at 0.5
    shown = replace(
        Labelled.of(part_of(20, 1)), true=true, scores=scores, decided=true & False, thresholds=np.array([np.nan])
    )
    (note,) = (text for text in f1_by_class(shown).axes[0].texts if "no threshold" in text.get_text())
    assert note.get_position()[0] > 0.34


def test_one_class_alone_has_no_figures_of_pairs() -> None:
    shown = Labelled.of(part_of(60, 1))
    assert [drawing.key for drawing in FIGURES["multilabel"].of(shown)] == ["f1", "calibration", "precision_recall"]


def test_counts_of_scores_are_drawn_from_one_image_on() -> None:
    shown = Labelled.of(part_of(60, 2))
    even = replace(shown, scores=np.repeat([[0.52, 0.42]], 60, axis=0))  # 60 scores in each of two bins
    low, high = calibration_curves(even).axes[1].get_ylim()
    assert low < 1
    assert high > 60


def test_figures_while_training() -> None:
    true, scores = drawn(80, 4, 0)
    rows = np.concatenate([true, scores], axis=1)
    spec = spec_of(("a", "b", "c", "d"), [0.5] * 4, [1] * 4) | {"fitted": False}
    figures = validation_figures("multilabel", rows, spec, "generated sample")
    assert set(figures) == {"f1", "precision_recall"}
    assert "at 0.5: macro" in words(figures["f1"])
    assert "fitted" not in words(figures["f1"])
    assert validation_figures("multilabel", rows * np.nan, spec, "x") == {}


def test_precision_and_recall_by_hand() -> None:
    true = np.array([1, 0, 1, 1, 0, 0], bool)
    scores = np.array([0.9, 0.8, 0.8, 0.3, 0.2, 0.1])  # the second and third are met together
    recall, precision, area = precision_recall(true, scores)
    np.testing.assert_allclose(recall, [1 / 3, 2 / 3, 1, 1, 1])
    np.testing.assert_allclose(precision, [1, 2 / 3, 3 / 4, 3 / 5, 3 / 6])
    assert area == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    rows = np.stack([true, scores, scores > 0.5], axis=1).astype(float)
    assert area == pytest.approx(METRICS["multilabel"]["map"](rows))


def test_matrices_show_what_they_say() -> None:
    true = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    figure = occurring_together(true, ["a", "b", "c"], "labels", "generated sample")
    numbers = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert numbers == {(1, 0): "33", (0, 1): "50"}  # of 3 images with a, 1 has b; of 2 with b, 1 has a
    assert "a  3" in words(figure)
    spec = spec_of(("a", "b", "c"), [0.5] * 3, [1] * 3)
    rows = np.concatenate([true, true, [[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]]], axis=1).astype(float)
    shown = Labelled.of(Part(table_of(rows, ("a", "b", "c"), "test"), "labels", "labels", spec, "test", {}, False))
    numbers = {text.get_position(): text.get_text() for text in taken_for(shown).axes[0].texts}
    # Of a: 1 found, 1 taken for b, 1 for nothing.
    assert numbers == {(0, 0): "33", (1, 0): "33", (3, 0): "33", (1, 1): "100"}


def test_label_counts_show_splits_without_images() -> None:
    counts = {"a": {"train": 1000, "val": 10, "test": 0}, "b": {"train": 3, "val": 0, "test": 1}}
    figure = label_counts(counts, "labels", "generated sample")
    assert "hollow: no image, 2 of 2 classes" in titles(figure)
    assert "1,000" in words(figure)
    spots = [tuple(spot) for drawn in figure.axes[0].collections for spot in np.asarray(drawn.get_offsets())]
    assert len(set(spots)) == len(spots) == 6  # b's 0 and a's 0 do not hide each other's splits
    same = label_counts({"a": {"train": 1, "val": 1, "test": 1}}, "labels", "x").axes[0].collections
    heights = [float(spot[1]) for drawn in same for spot in np.asarray(drawn.get_offsets())]
    assert len(set(heights)) == 3
    assert max(map(abs, heights)) < 0.5


def test_the_baseline_of_runs_side_by_side_is_no_mean_of_labels() -> None:
    entry = {"value": 0.5, "low": 0.4, "high": 0.6, "baseline": 0.1}
    assert "baseline: the same for every image" in words(metric_bars({"a": entry}, "labels/f1_macro", []))


# Images ---------------------------------------------------------------------------------------------------------------


def stain(value: float, high: float = 255.0) -> np.ndarray:
    """Dark on the left, ``value`` on the right."""
    return np.repeat(np.array([[0, 0, 0, value, value, value]]) * high, 6, axis=0)


def test_stains_have_their_colours_and_are_stretched_each_by_itself() -> None:
    nothing = np.zeros((6, 6))
    bright, dark = stain(1), stain(0.02)
    image = np.stack([bright, dark, nothing], axis=2).astype(np.uint8)
    found = composite(image, ["red", "green", "blue"])
    assert found.shape == (6, 6, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 0], [0, 0, 0])
    np.testing.assert_array_equal(found[0, 5], [1, 1, 0])  # the dark stain is seen, the absent one adds nothing
    # Yellow adds to red and green, half to each.
    deep = np.stack([nothing, bright, nothing, bright], axis=2).astype(np.uint16) * 257
    np.testing.assert_allclose(composite(deep, ["red", "green", "blue", "yellow"])[0, 5], [0.5, 1, 0])
    np.testing.assert_allclose(composite(bright[..., None], ["yellow"])[0, 5], [1, 1, 0])


def test_mixes_and_unknown_stains_have_colours() -> None:
    one = np.stack([stain(1), stain(0), stain(0)], axis=2)
    orange = composite(one, ["red/2+yellow/2", "green", "blue"])[0, 5]
    np.testing.assert_allclose(orange, [1, 1 / 3, 0], atol=1e-6)
    two = np.stack([stain(1), stain(0)], axis=2)
    assert composite(two, ["actin", "red"])[0, 5].tolist() == [0, 1, 0]  # red is taken
    with pytest.raises(ValueError, match=r"expected H x W x 2 \(red, green\), found shape \(6, 6, 3\)"):
        composite(one, ["red", "green"])


def test_images_without_contrast_or_with_holes_are_drawn() -> None:
    image = np.full((5, 5, 1), 9.0, np.float32)
    assert (composite(image, ["blue"]) == 0).all()
    image[0, 0] = np.nan
    assert np.isfinite(composite(image, ["blue"])).all()
    spot = np.zeros((100, 100, 1), np.uint8)
    spot[50, 50] = 40  # one bright point among 10,000
    assert composite(spot, ["green"])[50, 50].tolist() == [0, 1, 0]


def test_lines_say_what_is_right_and_wrong() -> None:
    assert line("Golgi", True, True, "0.91") == (f"{FOUND[0]} Golgi 0.91", FOUND[1])
    assert line("Golgi", False, True, "0.91")[1] == FALSE[1]
    assert line("Golgi", True, False, "0.05") == (f"{MISSED[0]} Golgi 0.05", MISSED[1])
    assert len(line("A name that is far too long for the place", True, True, "0.05")[0]) <= 37


def test_sheets_of_images(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).random((12, 16, 3)).astype(np.float32)
    many = [(f"class {k}", "black") for k in range(11)]
    sections = {
        "train": [Tagged(picture, f"id{i}", many[: 3 * i]) for i in range(5)],
        "val": [Tagged(picture, "x", [])],
    }
    figure = tagged_images(sections, "Images", "generated sample", {"found": FOUND})
    text = words(figure)
    assert "and 3 more" in text  # of 9
    assert "and 6 more" in text or "and 5 more" in text
    assert f"{FOUND[0]} found" in text
    assert save(figure, tmp_path / "sheet.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="at least one image"):
        tagged_images({}, "Images", "")
    heat = np.zeros((12, 16), np.float32)
    heat[3, 4] = 1
    shown = heated(picture, heat)
    assert shown[3, 4].sum() > shown[0, 0].sum()
    assert np.ptp(shown[0, 0]) == 0  # grey where nothing speaks for the class
    assert "Golgi 0.93" in words(looked_at([("Golgi 0.93", picture, heat)] * 4, "Where", "generated sample"))


# Which images to look at ----------------------------------------------------------------------------------------------


def test_wrong_labels_are_suspected() -> None:
    rng = np.random.default_rng(0)
    true = rng.random((300, 3)) < [0.5, 0.2, 0.1]
    scores = np.where(true, 0.9, 0.05) + rng.uniform(-0.04, 0.04, true.shape)
    scores[:, 2] = rng.uniform(0, 1, 300)  # nothing is known of the last class
    given = true.copy()
    wrong = [(3, 0), (40, 1), (77, 0)]
    for row, column in wrong:
        given[row, column] ^= True
    found = suspects(given, scores, scores >= 0.5)
    assert {(suspect.row, suspect.column) for suspect in found[:3]} == set(wrong)
    assert all(suspect.given == given[suspect.row, suspect.column] for suspect in found)
    assert all(suspect.given != (suspect.score >= 0.5) for suspect in found)
    assert all(suspect.column != 2 for suspect in found[:3])
    assert suspects(np.zeros((4, 1), bool), scores[:4, :1], given[:4, :1]) == []  # nothing to compare with


def test_uncertainty_is_distance_to_the_threshold() -> None:
    found = uncertainty(np.array([[0.5, 0.05], [0.9, 0.5], [0.5, 0.0]]), np.array([0.5, 0.05]))
    np.testing.assert_allclose(found[0], [0.5, 0.5])
    assert found[1, 0] == pytest.approx(0.1)  # calibrated to 0.5, it would be wrong in one of ten
    assert found[1, 1] < found[1, 0]
    assert found[2, 1] < 1e-3
    assert (uncertainty(np.array([[0.3]]), np.array([np.nan])) == 0).all()


def test_loss_is_the_cross_entropy_of_all_classes() -> None:
    found = loss(np.array([[1, 0], [0, 1]], bool), np.array([[0.8, 0.1], [0.8, 0.0]]))
    assert found[0] == pytest.approx(-np.log(0.8) - np.log(0.9))
    assert np.isfinite(found[1])
    assert found[1] > found[0]


# A run ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures_of(atlas_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A copy of a trained run with its pictures drawn again, its predictor and its data."""
    from visionlab import load
    from visionlab.config.run_folder import load_config
    from visionlab.training import assembly
    from visionlab.training.registry import REGISTRY
    from visionlab.training.sample_pictures import save_pictures

    copy = shutil.copytree(atlas_run, tmp_path_factory.mktemp("copy") / "run")
    shutil.rmtree(copy / "plots")
    predictor = load(copy, device="cpu")
    data = assembly.make_data(load_config(copy, REGISTRY, [], replace={"data.split_file": str(copy / "splits.json")}))
    data.setup()
    save_pictures(copy, predictor, data, "test")
    return copy, predictor, data


def test_a_run_leaves_pictures_and_suspects(pictures_of: tuple[Path, Any, Any]) -> None:
    run, _, data = pictures_of
    names = {path.stem for path in (run / "plots").iterdir()}
    assert {"most_wrong", "most_uncertain"} <= names <= set(FIGURES["multilabel"].pictures)
    table = pd.read_csv(run / "predictions" / "test.csv").set_index("id")
    found = pd.read_csv(run / "predictions" / "test_suspects.csv")
    assert found.columns.tolist() == ["id", "class", "given", "score"]
    for row in found.head(20).itertuples(index=False):
        values = table.loc[row[0]]
        assert (row[2], row[3]) == (values[f"{row[1]}_true"], pytest.approx(values[f"{row[1]}_score"]))
    right = any((table[f"{name}_true"] * table[f"{name}_pred"]).any() for name in data.targets["labels"])
    assert ("gradcam" in names) == right
    assert ("label_errors" in names) == bool(len(found))


def test_pictures_of_validation_do_not_replace_those_of_test(pictures_of: tuple[Path, Any, Any]) -> None:
    from visionlab.training.sample_pictures import save_pictures

    run, predictor, data = pictures_of
    before = (run / "plots" / "most_wrong.png").read_bytes()
    save_pictures(run, predictor, data, "val")
    assert (run / "plots" / "most_wrong.png").read_bytes() == before
    assert (run / "predictions" / "val_suspects.csv").is_file()


def test_the_card_counts_the_labels(pictures_of: tuple[Path, Any, Any]) -> None:
    from visionlab.data.describe import card

    _, _, data = pictures_of
    about = card(data)
    counts = about["labels"]["labels"]
    assert list(counts) == list(data.targets["labels"])
    for k, by_split in enumerate(counts.values()):
        assert by_split == {split: int(data.values("labels", split)[:, k].sum()) for split in ("train", "val", "test")}
    assert all(part["targets"] == {} for part in about["splits"].values())
    files = sum(path.stat().st_size for path in data.root.rglob("*_*.png") if path.parent.name == "train")
    assert about["bytes"] == files  # of all stains


def test_examples_show_stains_in_their_colours(pictures_of: tuple[Path, Any, Any]) -> None:
    from visionlab.training.sample_pictures import example_figure, view

    _, _, data = pictures_of
    image = view(data, 0)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.float32
    text = words(example_figure(data, {"labels": ""}))
    assert "each stain in its colour" in text
    given = data.values("labels", "train")[0] > 0
    assert all(name in text for name, has in zip(data.targets["labels"], given, strict=True) if has)


def test_tensorboard_holds_images_with_scores_and_figures(atlas_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(atlas_run))
    events.Reload()
    assert {"val/labels/images", "val/labels/f1", "val/labels/precision_recall"} <= set(events.Tags()["images"])
