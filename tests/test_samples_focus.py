"""The generated focus set: layout, determinism, and that distance and its sign are in the images by physics alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from visionlab import samples
from visionlab.errors import DataError, UsageError
from visionlab.samples.focus import MICROSCOPE, FocusSet, specimen, transmission
from visionlab.samples.optics import Microscope, fast_side


def digest(root: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def read(root: Path) -> dict[tuple[str, float], np.ndarray]:
    """Images by (field, distance)."""
    import imagecodecs

    found = {}
    for path in sorted((root / "images").iterdir()):
        field, _, distance = path.stem.rsplit("_", 2)
        found[field, float(distance)] = imagecodecs.png_decode(path.read_bytes())
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write("focus", tmp_path_factory.mktemp("focus") / "set", fields=3, heights=5, image_size=48)


def test_layout(small: Path) -> None:
    assert sorted(p.name for p in small.iterdir()) == ["SOURCE.md", "images"]
    names = [p.stem.rsplit("_", 2) for p in sorted((small / "images").glob("*.png"))]
    assert len(names) == 15
    assert {name for name, _, _ in names} == {"field000", "field001", "plate1_field002"}
    for field in ("field000", "field001", "plate1_field002"):
        heights = {distance: float(height) for name, height, distance in names if name == field}
        assert sorted(heights) == sorted(["-4.00", "-2.00", "0.00", "2.00", "4.00"])
        # The focal height, which is what absolute heights would betray, is the field's own.
        assert len({round(height - float(distance), 2) for distance, height in heights.items()}) == 1
    assert all(image.shape == (48, 48) and image.dtype == np.uint8 for image in read(small).values())
    assert list(small.parent.iterdir()) == [small], "a temporary folder was left behind"


def test_source_says_synthetic(small: Path) -> None:
    text = (small / "SOURCE.md").read_text()
    for part in ("Synthetic", "Seed: 0", "3 fields x 5 heights", "48 x 48", "8 bits", "MIT"):
        assert part in text


def test_same_seed_same_bytes_whatever_the_cores(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(samples, "_cores", lambda: 1)
    size = {"fields": 3, "heights": 5, "image_size": 48}
    again = samples.write("focus", tmp_path / "again", **size)
    assert "generated the focus sample: 15 samples in " in capsys.readouterr().err
    assert digest(again) == digest(small)
    other = digest(samples.write("focus", tmp_path / "other", seed=1, **size))
    assert not set(other.values()) & set(digest(small).values())


def test_a_field_does_not_depend_on_their_number(small: Path, tmp_path: Path) -> None:
    one = digest(samples.write("focus", tmp_path / "one", fields=1, heights=5, image_size=48))
    every = digest(small)
    assert {name: every.get(name) for name in one if name.endswith(".png")} == {
        name: value for name, value in one.items() if name.endswith(".png")
    }


def test_sixteen_bits(small: Path, tmp_path: Path) -> None:
    deep = read(samples.write("focus", tmp_path / "deep", fields=1, heights=5, image_size=48, bits=16))
    shallow = read(small)
    for key, image in deep.items():
        assert image.dtype == np.uint16
        assert len(np.unique(image)) > 256, "16 bits hold no more than 8 do"
        assert np.abs(image / 65535 - shallow[key] / 255).max() <= 0.5 / 255 + 1e-4


def test_even_number_of_heights_is_symmetric() -> None:
    assert FocusSet(heights=4, step=0.5).distances() == [-0.75, -0.25, 0.25, 0.75]
    assert FocusSet().distances()[0] == -16 and FocusSet().distances()[-1] == 16


def test_refuses_what_is_there(tmp_path: Path) -> None:
    kept = tmp_path / "full" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(DataError, match="holds files already"):
        samples.write("focus", kept.parent, fields=1, heights=1, image_size=16)
    with pytest.raises(DataError, match="is a file"):
        samples.write("focus", kept, fields=1, heights=1, image_size=16)
    assert kept.read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (samples.write("focus", empty, fields=1, heights=1, image_size=16) / "images").is_dir()


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FocusSet, part: int, folder: Path) -> int:
        (folder / "images").mkdir(exist_ok=True)
        if part == 1:
            raise OSError(28, "No space left on device")
        return 0

    monkeypatch.setattr(FocusSet, "write_part", fail)
    with pytest.raises(DataError, match="No space left"):
        samples.write("focus", tmp_path / "set", fields=3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        ("focsu", {}, "Did you mean 'focus'"),
        ("focus", {"feilds": 3}, "Did you mean 'fields'"),
        ("focus", {"bits": 12}, "8 or 16"),
        ("focus", {"fields": 0}, "from 1 to"),
        ("focus", {"fields": 2.5}, "whole number"),
        ("focus", {"seed": -1}, "from 0 to"),
        ("focus", {"step": 0}, "from 0.02"),
        ("focus", {"step": float("nan")}, "from 0.02"),
    ],
)
def test_usage_errors(task: str, size: dict[str, float], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        samples.write(task, tmp_path / "set", **size)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def random_field(side: int = 64) -> np.ndarray:
    return transmission(*specimen(np.random.default_rng(3), side))


def test_propagation_there_and_back() -> None:
    field = random_field()
    seen = MICROSCOPE.propagate(field, 0)  # what passes the pupil
    away = MICROSCOPE.propagate(seen, 7.5)
    assert np.abs(away - seen).max() > 0.05
    np.testing.assert_allclose(MICROSCOPE.propagate(away, -7.5), seen, atol=1e-12)
    assert np.sum(np.abs(away) ** 2) == pytest.approx(np.sum(np.abs(seen) ** 2))


def test_in_focus_is_the_transmission() -> None:
    # With a pupil wider than the grid's spectrum nothing is lost: |t|^2, from every direction of light.
    wide = Microscope(wavelength=0.3, pixel=0.5, aperture=0.9, condenser=0.05)
    field = random_field()
    np.testing.assert_allclose(wide.propagate(field, 0), field, atol=1e-12)
    np.testing.assert_allclose(wide.stack(field, [0.0])[0], np.abs(field) ** 2, atol=1e-9)


def test_fast_side() -> None:
    assert [fast_side(n) for n in (1, 64, 97, 177, 2048)] == [1, 64, 100, 180, 2048]


def test_empty_glass_stays_one() -> None:
    for image in MICROSCOPE.stack(np.ones((32, 32), complex), [-10.0, 0.0, 3.0]):
        np.testing.assert_allclose(image, 1, atol=1e-12)


def test_near_focus_agrees_with_the_transport_equation() -> None:
    """I(z) - I(0) = -z wavelength / (2 pi) Laplacian(phase) for a weak smooth phase object."""
    coherent = Microscope(condenser=0.0, rings=0)
    axis = (np.arange(64) - 32) * coherent.pixel
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    width, z = 4.0, 0.5
    phase = 0.01 * np.exp(-square / (2 * width**2))
    laplacian = phase * (square / width**4 - 2 / width**2)
    below, focus, above = coherent.stack(np.exp(1j * phase), [-z, 0.0, z])
    expected = -z * coherent.wavelength / (2 * np.pi) * laplacian
    np.testing.assert_allclose(above - focus, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(below - focus, -expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("distance", [2.0, 6.0, 16.0])
def test_contrast_inverts_through_focus(distance: float) -> None:
    """Cells are dark below and bright above the focal plane: the sign of the distance is in the image."""
    phase, absorption = specimen(np.random.default_rng(5), 160)
    # Minus the Laplacian of the phase, on the scale that the defocus blurs to.
    frequency = np.fft.fftfreq(160, MICROSCOPE.pixel)
    square = frequency[:, None] ** 2 + frequency[None, :] ** 2
    blur = np.exp(-2 * np.pi**2 * square * (0.15 * distance) ** 2)
    curvature = np.fft.ifft2(np.fft.fft2(phase) * square * blur).real
    below, above = MICROSCOPE.stack(transmission(phase, absorption), [-distance, distance])
    for image, sign in ((below, -1), (above, 1)):
        assert sign * np.corrcoef(image.ravel(), curvature.ravel())[0, 1] > 0.4


def test_brightness_and_contrast_do_not_betray_the_distance(tmp_path: Path) -> None:
    """The nearest neighbours in (mean, std) of other fields guess the distance little better than its mean does."""
    found = read(samples.write("focus", tmp_path / "set", fields=12, image_size=64))
    fields = np.array([field for field, _ in found])
    truth = np.array([distance for _, distance in found])
    features = np.array([(image.mean(), image.std()) for image in found.values()])
    features = (features - features.mean(0)) / features.std(0)
    guess = np.empty_like(truth)
    for i, feature in enumerate(features):
        others = np.flatnonzero(fields != fields[i])
        near = others[np.argsort(np.square(features[others] - feature).sum(1))[:9]]
        guess[i] = truth[near].mean()
    assert np.abs(guess - truth).mean() > 0.75 * np.abs(truth - truth.mean()).mean()
    # The sign by brightness alone, at the best of all cuts and either way round.
    off = truth != 0
    mean, sign = features[off, 0], truth[off] > 0
    share = max(max(s, 1 - s) for s in (np.mean((mean > cut) == sign) for cut in mean))
    assert share < 0.65
