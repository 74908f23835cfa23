"""The generated set of task ``focus``: cells on glass, photographed at known distances from their focal plane.

Each field is a new place on a tilted slide. Its cells are a thin transparent layer with the complex transmission
``exp(-a + i phi)``; the light behind it is propagated over the distance (:mod:`visionlab.samples.optics`) and
photographed by a noisy camera. Transparent cells turn from dark to bright through focus, so an image tells not
only how far but also on which side of the focal plane it was taken, as in bright-field microscopy of live cells.

Sources: refractive indices and thickness of adherent cells after P. Liu et al., Cell refractive index for cell
biology and disease diagnosis, Lab on a Chip 16 (2016); camera noise after the EMVA 1288 standard, release 4.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionlab.errors import UsageError
from visionlab.samples.optics import Array, ComplexArray, Microscope, fast_side

MICROSCOPE = Microscope()
FULL_WELL = 12_000.0  # electrons that give the camera's white
READ_NOISE = 8.0  # electrons, standard deviation
HEIGHTS = (50.0, 250.0)  # um of the stage: the glass is tilted, so every field has its own focal height
MARGIN = 16.0  # um at least around the image: light from there reaches it when out of focus


@dataclass(frozen=True)
class FocusSet:
    """``fields`` places on a slide, each photographed at ``heights`` distances that are ``step`` um apart.

    Attributes:
        seed: at least 0; with a field's number it settles everything about that field.
        fields: number of fields (groups).
        heights: images of each field, symmetrically around the focal plane.
        step: um between neighbouring images, at least 0.02 since names have two decimals.
        image_size: height and width in pixels of 0.65 um.
        bits: 8 or 16 bits a pixel.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    fields: int = 24
    heights: int = 17
    step: float = 2.0
    image_size: int = 128
    bits: int = 8

    def __post_init__(self) -> None:
        whole = {"seed": (0, 2**63), "fields": (1, 999), "heights": (1, 999), "image_size": (16, 4096), "bits": (8, 16)}
        for name, (low, high) in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise UsageError(
                    f"{name} of the focus sample: a whole number from {low} to {high} expected, got {value!r}."
                )
        if self.bits not in (8, 16):
            raise UsageError(f"bits of the focus sample: 8 or 16 expected, got {self.bits}.")
        if not isinstance(self.step, int | float) or not 0.02 <= self.step <= 100:
            raise UsageError(f"step of the focus sample: a number of um from 0.02 to 100 expected, got {self.step!r}.")

    @property
    def parts(self) -> int:
        """The fields."""
        return self.fields

    def distances(self) -> list[float]:
        """Return the distances from the focal plane in um, ascending, rounded as they stand in the names."""
        return [round((k - (self.heights - 1) / 2) * self.step, 2) for k in range(self.heights)]

    def write_part(self, part: int, folder: Path) -> int:
        """Write all images of field ``part`` to ``folder/images`` and return their number."""
        import imagecodecs

        images = folder / "images"
        images.mkdir(exist_ok=True)
        rng, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(self.seed, spawn_key=(part,)).spawn(2))
        focal_height = round(rng.uniform(*HEIGHTS), 2)
        side = fast_side(self.image_size + 2 * round(MARGIN / MICROSCOPE.pixel))
        start = (side - self.image_size) // 2
        inside = slice(start, start + self.image_size)
        camera = Camera.random(rng, self.image_size, self.bits)
        cells = transmission(*specimen(rng, side))
        stack = MICROSCOPE.stack(cells, self.distances())
        for distance, intensity in zip(self.distances(), stack, strict=True):
            name = f"{field_name(part)}_{focal_height + distance:.2f}_{distance:.2f}.png"
            (images / name).write_bytes(imagecodecs.png_encode(camera.photograph(intensity[inside, inside], noise)))
        return self.heights

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        m = MICROSCOPE
        return f"""# Generated focus sample

Synthetic images, made by visionlab's `samples.write("focus", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real cells.

- Layout: `images/<field>_<height>_<distance>.png`, height of the stage and distance from the focal plane in um.
- How: transparent cells (phase and absorption) on glass in partially coherent bright-field light, propagated to
  the distance by the angular spectrum, then photon noise, read noise and quantisation at a fixed exposure.
- Microscope: wavelength {m.wavelength} um, aperture {m.aperture}, condenser {m.condenser}, pixel {m.pixel} um.
- Size: {self.fields} fields x {self.heights} heights, {self.step:g} um apart; \
{self.image_size} x {self.image_size} pixels, {self.bits} bits.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


def field_name(field: int) -> str:
    """Return the name of field number ``field``; every third one holds an underscore, as real names may."""
    return f"plate{1 + field // 12}_field{field:03d}" if field % 3 == 2 else f"field{field:03d}"


def transmission(phase: Array, absorption: Array) -> ComplexArray:
    """Return the complex transmission of a thin layer: phase in radians, absorption of the amplitude (0: clear)."""
    return np.exp(-absorption + 1j * phase)


def specimen(rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    """Return phase and absorption of a random piece of slide, ``side x side`` pixels each, periodic."""
    layer = _Layer(side)
    strength = rng.uniform(0.85, 1.2)  # cells of one field are alike: same medium, same culture
    area = (side * MICROSCOPE.pixel) ** 2
    for _ in range(max(2, rng.poisson(area / rng.uniform(330, 700)))):
        if rng.random() < 0.15:
            layer.add_round_cell(rng, strength)
        else:
            layer.add_spread_cell(rng, strength)
    for _ in range(rng.poisson(area / 1200)):
        layer.add_dot(layer.anywhere(rng), rng.uniform(0.35, 0.9), rng.uniform(0.2, 1.0), rng.uniform(0.05, 0.5))
    layer.phase += 0.05 * _smooth_noise(rng, side, 3.0) + 0.01 * _smooth_noise(rng, side, 0.7)
    return layer.phase, layer.absorption


class _Layer:
    """Phase (radians) and absorption (of the amplitude) of a thin specimen, drawn object by object."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.extent = side * MICROSCOPE.pixel
        self.axis = np.arange(side) * MICROSCOPE.pixel
        self.phase = np.zeros((side, side))
        self.absorption = np.zeros((side, side))

    def anywhere(self, rng: np.random.Generator) -> tuple[float, float]:
        return rng.uniform(0, self.extent), rng.uniform(0, self.extent)

    def offsets(self, centre: tuple[float, float]) -> tuple[Array, Array]:
        """Return the way (um) from ``centre`` to every pixel, around the edges where that is shorter."""
        half = self.extent / 2
        dy, dx = ((self.axis - c + half) % self.extent - half for c in centre)
        return dy[:, None], dx[None, :]

    def add_dot(self, centre: tuple[float, float], radius: float, phase: float, absorption: float) -> None:
        dy, dx = self.offsets(centre)
        spot = np.exp(-(dy**2) / (2 * radius**2)) * np.exp(-(dx**2) / (2 * radius**2))
        self.phase += phase * spot
        self.absorption += absorption * spot

    def add_round_cell(self, rng: np.random.Generator, strength: float) -> None:
        """A cell that has let go of the glass: a ball of 8 to 12 um, a strong lens."""
        centre, radius = self.anywhere(rng), rng.uniform(4.0, 6.0)
        dy, dx = self.offsets(centre)
        ball = np.sqrt(np.maximum(1 - (dy**2 + dx**2) / radius**2, 0))
        self.phase += strength * rng.uniform(2.0, 3.0) * ball
        self.absorption += 0.06 * ball
        self._add_granules(rng, centre, 0.7 * radius, 6)

    def add_spread_cell(self, rng: np.random.Generator, strength: float) -> None:
        """A cell that lies flat: an irregular ellipse, thickest over its nucleus, with granules around that."""
        centre, angle = self.anywhere(rng), rng.uniform(0, np.pi)
        radius = rng.uniform(7.0, 11.0)
        stretch = rng.uniform(1.0, 1.7)
        dy, dx = self.offsets(centre)
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / stretch**0.5
        across = (dy * np.cos(angle) - dx * np.sin(angle)) * stretch**0.5
        around = np.arctan2(across, along)
        outline = np.ones_like(around)
        for wave in range(2, 7):
            outline += rng.normal(0, 0.16 / wave**0.5) * np.cos(wave * around + rng.uniform(0, 2 * np.pi))
        inside = np.maximum(1 - (along**2 + across**2) / (radius * np.maximum(outline, 0.35)) ** 2, 0)
        texture = 1 + 0.12 * _smooth_noise(rng, self.side, 1.0)
        self.phase += strength * texture * (rng.uniform(0.9, 1.4) * inside + 0.25 * np.minimum(6 * inside, 1))
        self.absorption += rng.uniform(0.02, 0.05) * np.minimum(4 * inside, 1)
        nucleus = rng.uniform(0.33, 0.43) * radius
        shift = rng.normal(0, 0.08 * radius, 2)
        place = (centre[0] + shift[0], centre[1] + shift[1])
        dome = np.maximum(1 - ((along - shift[1]) ** 2 + (across - shift[0]) ** 2) / nucleus**2, 0)
        self.phase += strength * rng.uniform(0.5, 0.9) * np.sqrt(dome)
        for _ in range(rng.integers(1, 4)):
            spot = rng.normal(0, 0.35 * nucleus, 2)
            self.add_dot((place[0] + spot[0], place[1] + spot[1]), rng.uniform(0.5, 0.9), 0.5 * strength, 0.02)
        self._add_granules(rng, centre, 0.45 * radius, 14)

    def _add_granules(self, rng: np.random.Generator, centre: tuple[float, float], spread: float, mean: int) -> None:
        for _ in range(rng.poisson(mean)):
            way = rng.normal(0, spread, 2)
            place = (centre[0] + way[0], centre[1] + way[1])
            self.add_dot(place, rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.8), rng.uniform(0.0, 0.15))


def _smooth_noise(rng: np.random.Generator, side: int, width: float) -> Array:
    """Return periodic Gaussian noise of mean 0 and variance 1, correlated over about ``width`` um."""
    frequency = np.fft.fftfreq(side, MICROSCOPE.pixel)
    damping = np.exp(-2 * (np.pi * width * frequency) ** 2)
    spectrum = np.fft.fft2(rng.standard_normal((side, side))) * damping[:, None] * damping[None, :]
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return noise / noise.std()


@dataclass(frozen=True)
class Camera:
    """Exposure and illumination of one field, the same for all its images.

    Attributes:
        light: electrons that a pixel collects in empty places, H x W.
        bits: 8 or 16 a pixel.
    """

    light: Array
    bits: int

    @classmethod
    def random(cls, rng: np.random.Generator, side: int, bits: int) -> Camera:
        """Draw an exposure (empty glass at 48 to 56% of white) and a lamp that is up to 5% off centre."""
        angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.05)
        axis = np.linspace(-1, 1, side)
        gradient = 1 + slope * (np.sin(angle) * axis[:, None] + np.cos(angle) * axis[None, :])
        return cls(rng.uniform(0.48, 0.56) * FULL_WELL * gradient, bits)

    def photograph(self, intensity: Array, rng: np.random.Generator) -> NDArray[np.unsignedinteger]:
        """Return the image (H x W, uint8 or uint16) of an intensity that is 1 in empty places.

        The lamp flickers by 2% from image to image, so that an image's brightness tells nothing of its distance.
        """
        electrons = rng.poisson(self.light * rng.normal(1, 0.02) * intensity).astype(float)
        electrons += rng.normal(0, READ_NOISE, intensity.shape)
        white = 2**self.bits - 1
        grey = np.clip(np.rint(electrons / FULL_WELL * white), 0, white)
        return grey.astype(np.uint8 if self.bits == 8 else np.uint16)
