"""Numbers in words, outlines, stains, curves over time, animations, pictures in rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.reports.tables import check_readable
from visionlab.drawing.animation import MOST, Animation
from visionlab.drawing.gallery import Item, Panel, Scale, gallery
from visionlab.drawing.images import composite, stretch
from visionlab.drawing.outlines import FOUND, MISSED, TRUE, bar_length, limits, outlined, overlap, rim, shade
from visionlab.drawing.population import NAMED, population_figure, readable_times
from visionlab.drawing.style import new, rgb, save
from visionlab.drawing.text import digits, interval, listed, measure, number, shorten, value

RNG = np.random.default_rng(0)


def test_numbers_in_words() -> None:
    assert digits(np.int64(0), 2) == "0.00"
    assert [digits(x) for x in (0, 1.2345, 123.4, 1e-7, -0.0004, None, float("nan"), True)] == [
        *("0.00", "1.23", "123", "1.00e-07", "−0.000400", "–", "–", "–")
    ]
    entry = {"value": 6.3456, "low": 5.1, "high": 7.4, "unit": "um"}
    assert (value(entry), interval(entry), measure(entry)) == ("6.3 µm", "[5.1, 7.4]", "6.3 µm [5.1, 7.4]")
    assert measure({"value": 0.99912, "low": 0.9990001, "high": 0.9990002}) == "0.9991 [0.9990, 0.9990]"
    assert (value({"value": None}), interval({"value": 1})) == ("undefined", "")
    assert (shorten("a  b\nc", 20), shorten("x" * 10 + "y" * 10, 9)) == ("a b c", "xxxx…yyyy")
    assert listed(list("abcdefgh"), 6) == "a, b, c, d, e, f and 2 more"
    assert (number("3"), number(3)) == (None, 3.0)


def test_images_are_stretched_for_looking_at() -> None:
    shown = stretch(np.arange(100, dtype=np.uint16).reshape(10, 10, 1) * 600)
    assert (shown.shape, shown.min(), shown.max()) == ((10, 10), 0, 1)
    assert (stretch(np.full((4, 4, 3), 7, np.uint8)) == 0.5).all()
    assert stretch(np.zeros((4, 4, 5), np.float32)).shape == (4, 4, 3)
    assert np.isfinite(stretch(np.full((2, 2, 1), np.nan))).all()
    volume = np.stack([np.full((8, 8, 1), 10.0), np.full((8, 8, 1), 30.0)])
    assert limits(volume) == (20.0, 30.0), "slices of a volume share their scale"
    assert (shade(volume[0], limits(volume)).max(), shade(volume[1], limits(volume)).min()) == (0, 1)


def test_stains_have_their_colours_and_are_stretched_each_by_itself() -> None:
    image = np.zeros((10, 10, 2), np.uint16)
    image[:5, :, 0], image[:, :5, 1] = 60000, 3
    shown = composite(image, [[("red", 1)], [("green", 1)]])
    assert [shown[at].tolist() for at in ((0, 0), (0, 9), (9, 0))] == [[1, 1, 0], [1, 0, 0], [0, 1, 0]]
    mixed = composite(image[..., :1], [[("red", 2), ("yellow", 2)]])
    assert mixed[0, 0].max() == 1 and mixed[0, 0, 1] > 0
    assert composite(image, [[("DAPI", 1)], [("GFP", 1)]])[0, 9].tolist() == [1, 0, 0]
    assert not composite(np.full((4, 4, 1), np.nan, np.float32), [[("red", 1)]]).any()


def test_outlines_lie_within_their_objects_and_unknown_pixels_have_none() -> None:
    labels = np.zeros((9, 9), np.int64)
    labels[1:8, 1:5], labels[1:8, 5:8] = 3, 2**31 - 1
    one, two = rim(labels), rim(labels, 2)
    assert not one[labels == 0].any()
    assert one[1:8, 4].all() and one[1:8, 5].all()
    assert (one & ~two).sum() == 0 and two.sum() > one.sum()
    labels[:, 8] = -1
    shown = outlined(np.full((9, 9), 0.5, np.float32), [(labels, TRUE)])
    assert shown.shape == (360, 360, 4)
    assert (shown[..., 3].mean(axis=0) == np.repeat(labels[0] >= 0, 40)).all()
    marked = (shown[..., :3] == rgb(TRUE)).all(axis=2)
    assert marked[40, 40 : 8 * 40].all() and not marked[:39].any()


def test_a_figure_is_saved_under_the_longest_name(tmp_path: Path) -> None:
    path = save(new(2, 2), tmp_path / "plots" / ("x" * 251 + ".png"))
    assert [*path.parent.iterdir()] == [path]


def test_what_was_found_and_missed_has_a_colour_each() -> None:
    true, pred = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    shown = overlap(np.zeros((1, 4), np.float32), true, pred, np.ones((1, 4), bool))
    dark = 0.12
    np.testing.assert_allclose(shown[0, 1], 0.1 * dark + 0.9 * rgb(MISSED), atol=1e-6)
    np.testing.assert_allclose(shown[0, 0], 0.55 * dark + 0.45 * rgb(FOUND), atol=1e-6)
    np.testing.assert_allclose(shown[0, 3], dark, atol=1e-6)


@pytest.mark.parametrize(("across", "share", "words"), [(100, 0.2, "20 µm"), (7000, 2 / 7, "2 mm"), (1, 0.2, "0.2 µm")])
def test_scale_bars_have_round_lengths(across: float, share: float, words: str) -> None:
    length, said = bar_length(across)
    assert length == pytest.approx(share) and said == words


def test_curves_over_time(tmp_path: Path) -> None:
    times = {"a": [3, 1, 2], "b": [0, 1, 2]}
    values = {"a": {"x": [30, 10, 20]}, "b": {"x": [1, 2, 3]}}
    figure = population_figure(times, values, true=values, unit="cells", caption="here")
    check_readable(figure, tmp_path / "one.png")
    axes = figure.axes[0]
    assert np.asarray(axes.lines[0].get_xydata()).tolist() == [[1, 10], [2, 20], [3, 30]]
    assert (axes.get_ylabel(), axes.get_ylim()[0]) == ("objects (cells)", 0)
    five = {
        end: {column: [1, 2] for column in "abcde"} for end in ("x" * 30 + "1" + "y" * 30, "x" * 30 + "2" + "y" * 30)
    }
    figure = population_figure({name: [0, 1] for name in five}, five)
    check_readable(figure, tmp_path / "five.png")
    below = [axes for axes in figure.axes if axes.get_xlabel()]
    assert len(below) == 4
    assert all(axes.get_xticklabels() for axes in below), "numbers that are seen"
    assert len(figure.legends[0].get_texts()) == 2, "names that are shortened to the same"
    many = {f"s{i}": {"x": [i, i + 1], "y": [1, 2]} for i in range(NAMED + 1)}
    check_readable(population_figure({key: [0, 1] for key in many}, many), tmp_path / "two.png")
    for seconds, expected, unit in ((60, 60, "s"), (240, 4, "min"), (4 * 3600, 4, "h"), (4 * 86400, 4, "d")):
        assert (readable_times([seconds])[0].tolist(), readable_times([seconds])[1]) == ([expected], f"time ({unit})")


def frames_of(path: Path) -> list[np.ndarray[Any, Any]]:
    with Image.open(path) as moving:
        found = []
        for number in range(getattr(moving, "n_frames", 1)):
            moving.seek(number)
            found.append(np.asarray(moving.convert("RGB")))
    return found


def test_an_animation_shows_slices_with_outlines_in_their_colours(tmp_path: Path) -> None:
    image = RNG.integers(0, 900, (3, 40, 60, 1)).astype(np.uint16)
    ids = np.zeros((3, 40, 60), np.int32)
    ids[1, 10:20, 10:30] = 5
    animation = Animation({"true": "#56B4E9"}, pixel=0.5)
    for z in range(3):
        # Where there is little room the number at the end is kept.
        animation.add(image[z] if z else image, {"true": ids[z]}, f"a_very_long_name_of_the_time_point_03_t002 z {z}")
    path = animation.save(tmp_path / "deep" / "a.gif")
    first, second, third = frames_of(path)
    colour = np.array([0x56, 0xB4, 0xE9])
    assert second.shape[:2] == (160 + 36, 240)
    assert (second[40, 40:120] == colour).all()
    assert not (first[:160] == colour).all(axis=2).any()
    assert (first[160:178, -12:] != third[160:178, -12:]).any(), "the number of the slice"
    assert {path.name for path in path.parent.iterdir()} == {"a.gif"}


def test_of_many_frames_every_second_is_given_up(tmp_path: Path) -> None:
    animation = Animation({})
    for t in range(2 * MOST + 1):
        animation.add(RNG.random((8, 8, 1), np.float32), {}, f"t {t}")
    assert len(frames_of(animation.save(tmp_path / "a.gif"))) == MOST // 2 + 1


@pytest.mark.parametrize("shape", [(20, 20), (10, 80), (80, 10)])
@pytest.mark.parametrize(("items", "wide"), [(1, 1), (7, 1), (3, 4), (2, 9)])
def test_pictures_of_any_shape_and_number_can_be_read(
    shape: tuple[int, int], items: int, wide: int, tmp_path: Path
) -> None:
    scale = Scale("viridis", 0.0, 2.0, "um")
    panels = [Panel(RNG.random(shape), "a heading", scale if k else None, 0.2) for k in range(wide)]
    given = [Item(f"a/rather/long_name_of_an_image_{i}", panels, ["line one", "line two"]) for i in range(items)]
    figure = gallery({"first": given, "second": given[:1]}, "A title", "a caption", legend={"words": "red"})
    check_readable(figure, tmp_path / "one.png")
    boxes = [axes.get_window_extent() for axes in figure.axes if axes.images]
    assert len(boxes) == (items + 1) * wide
    assert {round(box.width) for box in boxes} == {round(boxes[0].width)}, "pictures of several sizes"
    assert min(max(box.width, box.height) for box in boxes) > 100
