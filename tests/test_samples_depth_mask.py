"""The generated depth and mask set: layouts, determinism, and that depth and mask are what geometry says they are."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visionlab import samples
from visionlab.errors import UsageError
from visionlab.io.images import read
from visionlab.samples.depth_mask import DepthMaskSet
from visionlab.samples.figures import KINDS
from visionlab.samples.rooms import Room
from visionlab.samples.scene import compose, frame, photograph, picture, stand
from visionlab.samples.shapes import box, cone, ellipsoid, plain, turn
from visionlab.samples.tracing import Group
from visionlab.samples.views import Camera, look

SIZE = {"backgrounds": 3, "per_background": 7, "image_size": 48}


def digest(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write("depth_mask", tmp_path_factory.mktemp("depth_mask") / "nested", **SIZE)


@pytest.fixture(scope="module")
def scenes() -> list[tuple]:
    """For some rooms: the view, its picture, and figures where they stand and as they are seen."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        room = Room.random(rng)
        view = look(room, Camera.random(rng, 64, room.width))
        placed = [stand(rng, view, KINDS[kind](rng)) for kind in KINDS]
        found.append((view, picture(view), [place for place in placed if place is not None]))
    assert sum(len(placed) for _, _, placed in found) >= 15
    return found


# The set on disk ------------------------------------------------------------------------------------------------------


def test_nested_layout(nested: Path) -> None:
    names = set(digest(nested))
    stems = {
        # Every two images show one figure, which is in one room only.
        f"bg_{b + 1:03d}/{4 * b + f + 1:03d}/{k + 1:03d}"
        for b in range(3)
        for f, count in ((0, 2), (1, 2), (2, 2), (3, 1))
        for k in range(count)
    }
    expected = {f"fgbg/{s}.jpg" for s in stems} | {f"{d}/{s}.png" for s in stems for d in ("fgbgmask", "dense")}
    assert names == expected | {f"bg/bg_{b + 1:03d}.jpg" for b in range(3)} | {"SOURCE.md"}
    for stem in stems:
        image, mask, depth = (read(nested / p) for p in _files(stem))
        assert image.shape == (48, 48, 3) and image.dtype == np.uint8
        assert mask.shape == (48, 48, 1) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
        assert depth.shape == (48, 48, 1) and depth.dtype == np.uint16
        assert depth.min() > 300 and depth.max() < 9500, "metres in millimetres, none unknown"
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert not edge.any(), "a figure is cut by the image's edge"


def _files(stem: str) -> tuple[str, str, str]:
    return f"fgbg/{stem}.jpg", f"fgbgmask/{stem}.png", f"dense/{stem}.png"


def test_flat_layout_holds_the_same(nested: Path, tmp_path: Path) -> None:
    flat = samples.write("depth_mask", tmp_path / "flat", layout="flat", **SIZE)
    assert sorted(p.name for p in flat.iterdir()) == ["SOURCE.md", "depth", "images", "masks"]
    images = sorted((nested / "fgbg").rglob("*.jpg"))
    assert len(images) == 21
    for number, image in enumerate(images):
        stem = image.relative_to(nested / "fgbg").with_suffix("").as_posix()
        for theirs, mine in zip(
            _files(stem),
            (f"images/fgbg{number:06d}.jpg", f"masks/mask{number:06d}.png", f"depth/fgbg{number:06d}.png"),
            strict=True,
        ):
            assert (flat / mine).read_bytes() == (nested / theirs).read_bytes()
    assert len(list(flat.rglob("*.*"))) == 3 * 21 + 1
    assert "the number divided by 7" in (flat / "SOURCE.md").read_text()


def test_source_says_synthetic(nested: Path) -> None:
    text = (nested / "SOURCE.md").read_text()
    for part in ("Synthetic", "millimetres", "optical axis", "3 rooms x 7", "48 x 48", "200/255", "Seed: 0", "MIT"):
        assert part in text


def test_same_seed_same_bytes_whatever_the_cores(nested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_cores", lambda: 1)
    assert digest(samples.write("depth_mask", tmp_path / "again", **SIZE)) == digest(nested)
    other = digest(samples.write("depth_mask", tmp_path / "other", seed=1, **{**SIZE, "backgrounds": 1}))
    assert not set(other.values()) & set(digest(nested).values())
    one = digest(samples.write("depth_mask", tmp_path / "one", **{**SIZE, "backgrounds": 1}))
    every = digest(nested)
    assert all(every[name] == value for name, value in one.items() if name != "SOURCE.md"), "depends on other rooms"


def test_depth_and_mask_agree_between_images_of_one_room(nested: Path) -> None:
    """Where no figure is, depth is the room's; where one is, it is in front of what another image shows there."""
    for folder in sorted((nested / "dense").iterdir()):
        pairs = []
        for path in sorted(folder.rglob("*.png")):
            mask = read(nested / "fgbgmask" / path.relative_to(nested / "dense"))[..., 0] > 0
            pairs.append((mask, read(path)[..., 0]))
        room = np.max([depth for _, depth in pairs], axis=0)
        for mask, depth in pairs:
            alone = ~np.any([other for other, _ in pairs if other is not mask], axis=0)
            assert (depth[mask & alone] < room[mask & alone]).all()
            assert (depth[~mask] == room[~mask]).all() or not alone.all()
            assert mask.mean() > 0.002


def test_the_image_differs_from_its_background_where_the_mask_is(nested: Path) -> None:
    for path in sorted((nested / "fgbg").rglob("*.jpg")):
        part = path.relative_to(nested / "fgbg")
        mask = read((nested / "fgbgmask" / part).with_suffix(".png"))[..., 0] > 0
        before = read(nested / "bg" / f"{part.parts[0]}.jpg").astype(int)
        change = (read(path).astype(int) - before).mean(2)
        around = _grown(mask, 3)
        # A shadow makes it darker around, JPEG changes it by little, and parts thinner than a pixel are in no mask.
        assert (change[~around] > 12).mean() < 0.01
        assert (np.abs(change) > 6)[mask].mean() > 4 * (np.abs(change) > 6)[~around].mean()
        assert np.median(np.abs(change)[~around]) < 2


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    grown = mask.copy()
    for dy in range(-by, by + 1):
        for dx in range(-by, by + 1):
            grown |= np.roll(mask, (dy, dx), (0, 1))
    return grown


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"layout": "deep"}, "nested or flat"),
        ({"backgrounds": 0}, "from 1 to"),
        ({"per_background": 2.0}, "whole number"),
        ({"image_size": 8}, "from 32 to"),
        ({"seed": -1}, "from 0 to"),
        ({"background": 3}, "Did you mean 'backgrounds'"),
    ],
)
def test_usage_errors(size: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.write("depth_mask", tmp_path / "set", **size)
    assert list(tmp_path.iterdir()) == []


def test_twenty_groups_by_default() -> None:
    assert DepthMaskSet().backgrounds >= 20 and DepthMaskSet().parts == DepthMaskSet().backgrounds


# Geometry -------------------------------------------------------------------------------------------------------------


def _bare_room(length: float = 6.0) -> Room:
    room = Room.random(np.random.default_rng(0))
    room.width, room.length, room.height = 4.0, length, 2.5
    room.furniture.clear()
    room.footprints.clear()
    return room


def test_floor_and_wall_have_the_depth_of_geometry() -> None:
    """A camera at height h, tilted down by p, sees the floor in the row at angle a below the axis at depth
    h / (sin p + tan a cos p); the wall ahead of a level camera has one depth, not one distance."""
    height, pitch, size, focal = 1.4, 0.2, 64, 60.0
    camera = Camera(np.array([0.3, height, 0.2], np.float32), turn(0.0, -pitch), focal, size)
    view = look(_bare_room(), camera)
    below = (np.arange(size) + 0.5 - size / 2) / focal
    with np.errstate(divide="ignore"):
        expected = height / (np.sin(pitch) + below * np.cos(pitch))
    for row in range(40, size):
        np.testing.assert_allclose(view.depth[row, size // 2], expected[row], rtol=1e-4)
    level = Camera(np.array([0, height, 0.2], np.float32), turn(), focal, size)
    depth = look(_bare_room(), level).depth
    np.testing.assert_allclose(depth[size // 2, 20:44], 5.8, rtol=1e-5)
    np.testing.assert_allclose(depth[size // 2, 0], 2.0 * focal / (size / 2 - 0.5), rtol=1e-4)  # the left wall


def test_figures_stand_in_front_of_the_room_and_on_its_floor(scenes: list[tuple]) -> None:
    for view, empty, placed in scenes:
        for standing, seen in placed:
            image, mask, depth = compose(view, empty, standing, seen)
            assert (depth[mask] < view.depth[mask]).all()
            assert (depth[~mask] == view.depth[~mask]).all()
            # What the figure does not cover becomes darker, if anything: its shadow.
            covered = np.zeros_like(mask)
            covered[seen.rows, seen.columns] = seen.alpha > 0
            assert (image[~covered] <= empty[~covered] + 1e-6).all()
            assert (mask <= covered).all() and not mask.all()
            # Its lowest point touches the floor, so that it is hardly nearer than the floor seen there.
            row = np.flatnonzero(mask.any(1))[-1]
            column = np.flatnonzero(mask[row])
            assert np.min(view.depth[row, column] - depth[row, column]) < 0.35


def test_mask_is_where_alpha_reaches_200(scenes: list[tuple]) -> None:
    soft = 0
    for view, empty, placed in scenes:
        for standing, seen in placed:
            _, mask, _ = compose(view, empty, standing, seen)
            assert (mask[seen.rows, seen.columns] == (seen.alpha >= 200)).all()
            assert mask.sum() == (seen.alpha >= 200).sum()
            soft += ((seen.alpha > 0) & (seen.alpha < 255)).sum()
    assert soft > 100, "outlines are not soft"


def test_a_figure_twice_as_far_is_half_as_high() -> None:
    figure = KINDS["person"](np.random.default_rng(1))
    room = _bare_room(9.0)
    camera = Camera(np.array([0, 1.0, 0], np.float32), turn(), 180.0, 240)
    heights, depths = [], []
    for z in (3.0, 6.0):
        standing = figure.moved(turn(), (0, 0, z))
        window = frame(standing, camera)
        assert window is not None
        seen = photograph(standing, room, camera, *window)
        heights.append(np.ptp(np.flatnonzero(seen.mask.any(1))) + 1)
        depths.append(np.median(seen.pixel_depth[seen.mask]))
    assert heights[0] / heights[1] == pytest.approx(2, rel=0.05)
    assert depths == pytest.approx([3, 6], abs=0.25)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_stands_on_the_floor(kind: str) -> None:
    """Seen from far away at the height of the floor, a figure begins at the horizon and has relief."""
    for seed in range(3):
        figure = KINDS[kind](np.random.default_rng(seed)).moved(turn(), (0, 0, 0))
        camera = Camera(np.array([0, 0, -60], np.float32), turn(), 2000.0, 96)
        t, which = figure.trace(camera.place, camera.rays())
        grid = (which >= 0).reshape(96, 3, 96, 3)[:, 1, :, 1]
        rows = np.flatnonzero(grid.any(1))
        assert abs(rows[-1] - 47.5) <= 2, "floats above the floor or sinks into it"
        assert 0.4 < (rows[-1] - rows[0]) * 60 / 2000 < 2.4
        assert np.ptp(t[which >= 0]) > 0.02


def test_rays_meet_shapes_where_they_are() -> None:
    grey = plain((0.5, 0.5, 0.5))
    origin = np.zeros(3, np.float32)
    ahead = np.array([[0, 0, 1], [0, 0, 2], [0, 1, 1]], np.float32)
    cases = [
        (ellipsoid((0, 0, 5), (1, 1, 0.5), grey), 4.5),
        (box((0, 0, 5), (1, 1, 1), grey), 4.5),
        (box((0, 0, 5), (1, 1, 1), grey, turn(np.pi / 4)), 5 - 0.5**0.5),
        (cone((0, -1, 5), (0, 1, 5), 1.0, 0.5, grey), 4.25),
        (cone((0, 1, 5), (0, -1, 5), 0.5, 1.0, grey), 4.25),
        (cone((0, 0, 4), (0, 0, 6), 0.5, 0.5, grey), 4.0),  # seen from its flat end
    ]
    for shape, expected in cases:
        t = shape.meet(origin, ahead)
        # Twice as long a ray meets it at half the parameter; one that passes by never does.
        np.testing.assert_allclose(t[:2], [expected, expected / 2], rtol=1e-5)
        assert np.isinf(t[2])
        point = np.array([[0, 0, expected]], np.float32)
        _, normal = shape.surface(point)
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-5)
        assert normal[0, 2] < 0, "a normal points inwards"
        moved = Group([shape]).moved(turn(0.3), (0, 0, 1))
        assert moved.trace(origin, ahead[:1])[1][0] in (0, -1)
        assert Group([shape]).hides(origin[None], np.array([[0, 0, 9]], np.float32))[0]
        assert not Group([shape]).hides(origin[None], np.array([[0, 0, 2]], np.float32))[0]
        assert not Group([shape]).hides(np.array([[0, 0, 9]], np.float32), np.array([[0, 0, 12]], np.float32))[0]


def test_the_nearest_shape_is_met() -> None:
    red, blue = plain((1, 0, 0)), plain((0, 0, 1))
    group = Group([ellipsoid((0, 0, 6), 1, red), ellipsoid((0, 0.5, 4), 1, blue)])
    rays = np.array([[0, 0, 1], [0, -0.15, 1], [0, 9, 1]], np.float32)
    t, which = group.trace(np.zeros(3, np.float32), rays)
    assert which.tolist() == [1, 0, -1]
    assert t[0] == pytest.approx(4 - 0.75**0.5, rel=1e-5) and np.isinf(t[2])


# Parts for the compositor ---------------------------------------------------------------------------------------------


def test_cutouts(tmp_path: Path) -> None:
    root = samples.write("cutouts", tmp_path / "parts", backgrounds=2, cutouts=8, image_size=64)
    assert sorted(p.name for p in root.iterdir()) == ["SOURCE.md", "backgrounds", "cutouts"]
    backgrounds, cutouts = sorted((root / "backgrounds").iterdir()), sorted((root / "cutouts").iterdir())
    assert [p.name for p in backgrounds] == ["bg_001.jpg", "bg_002.jpg"]
    assert all(Image.open(p).size == (64, 64) for p in backgrounds)
    assert len(cutouts) == 8 and {p.name.partition("_")[0] for p in cutouts} == set(KINDS)
    for path in cutouts:
        image = read(path)
        alpha = image[..., 3]
        assert image.dtype == np.uint8 and image.shape[2] == 4 and 30 < max(image.shape[:2]) <= 64
        assert alpha.max() == 255 and ((alpha > 0) & (alpha < 255)).sum() > 10, "no soft outline"
        assert all(side.any() for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])), "not cut to its outline"
        assert (image[alpha == 0, :3] == 255).all()
        assert image[alpha == 255, :3].std() > 5
    with pytest.raises(UsageError, match="cutouts of the cutouts sample"):
        samples.write("cutouts", tmp_path / "none", cutouts=0)
