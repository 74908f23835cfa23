"""Scalar wave optics of a bright-field microscope: defocus, aperture, partially coherent light.

Lengths are in micrometres, spatial frequencies in cycles per micrometre. Fields are complex ``N x N`` arrays that
are periodic, as the discrete Fourier transform takes them to be.

Sources:
- J. W. Goodman, Introduction to Fourier Optics, 4th ed. 2017: propagation by the angular spectrum (section 3.10),
  imaging with coherent light through a pupil (section 7.2).
- M. Born and E. Wolf, Principles of Optics, 7th ed. 1999, section 10.6: a condenser is an incoherent sum over
  tilted plane waves, each of which images coherently (Abbe's sum over source points).
- N. Streibl, Phase imaging by the transport equation of intensity, Optics Communications 49, 6 (1984): close to
  focus ``I(z) - I(0)`` is proportional to ``-z`` times the Laplacian of the phase, so it changes sign with ``z``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
ComplexArray = NDArray[np.complexfloating]


def fast_side(least: int) -> int:
    """Return the smallest number from ``least`` up whose only prime factors are 2, 3 and 5: quick to transform."""
    side = least
    while True:
        rest = side
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return side
        side += 1


@dataclass(frozen=True)
class Microscope:
    """A dry objective with a condenser and a camera.

    Attributes:
        wavelength: of the light, in um.
        pixel: side of a camera pixel in the plane of the specimen, in um.
        aperture: numerical aperture of the objective.
        condenser: numerical aperture of the illumination; its ratio to ``aperture`` is the coherence factor.
        rings: the condenser is sampled at its centre and on this many rings of 6, 12, 18 ... points.
    """

    wavelength: float = 0.55
    pixel: float = 0.65
    aperture: float = 0.3
    condenser: float = 0.15
    rings: int = 2

    def directions(self) -> list[tuple[float, float]]:
        """Return the spatial frequencies (fy, fx) of the illuminating plane waves, which fill the disk evenly."""
        points = [(0.0, 0.0)]
        for ring in range(1, self.rings + 1):
            # Rings of 6k points at radius k / (rings + 1/2) give each point the same share of the disk's area.
            radius = self.condenser / self.wavelength * ring / (self.rings + 0.5)
            for angle in np.arange(6 * ring) * (2 * np.pi / (6 * ring)):
                points.append((radius * float(np.sin(angle)), radius * float(np.cos(angle))))
        return points

    def axial_frequency(self, side: int, direction: tuple[float, float] = (0, 0)) -> tuple[Array, NDArray[np.bool_]]:
        """Return the axial frequency of every plane wave of a ``side x side`` spectrum, and which ones pass the pupil.

        ``direction`` is that of the illumination: a spectrum's frequencies count from there.
        """
        frequency = np.fft.fftfreq(side, self.pixel)
        square = (frequency[:, None] + direction[0]) ** 2 + (frequency[None, :] + direction[1]) ** 2
        axial = np.sqrt(np.maximum(1 / self.wavelength**2 - square, 0))
        return axial, square <= (self.aperture / self.wavelength) ** 2

    def propagate(self, field: ComplexArray, distance: float) -> ComplexArray:
        """Return ``field`` (N x N) after ``distance`` um behind the pupil; negative distances go back.

        The pupil passes only frequencies up to ``aperture / wavelength``; for what it passes this is a unitary step.
        """
        axial, passed = self.axial_frequency(field.shape[0])
        return np.fft.ifft2(np.fft.fft2(field) * passed * np.exp(2j * np.pi * distance * axial))

    def stack(self, transmission: ComplexArray, distances: list[float]) -> Array:
        """Return the intensities (distances x N x N, 1 where the specimen is empty) at each defocus distance.

        A positive distance looks at the light after it has left the specimen: a cell, denser than its medium,
        works as a lens and is bright there, and dark at negative distances.
        """
        spectrum = np.fft.fft2(transmission)
        directions = self.directions()
        images = np.zeros((len(distances), *transmission.shape))
        for direction in directions:
            axial, passed = self.axial_frequency(spectrum.shape[0], direction)
            # Only what the pupil passes is worked on. A tilted wave's own phase is left out: it has no intensity.
            axial, passing = axial[passed], spectrum[passed]
            wave = np.zeros_like(spectrum)
            for plane, distance in enumerate(distances):
                wave[passed] = passing * np.exp(2j * np.pi * distance * axial)
                field = np.fft.ifft2(wave)
                images[plane] += field.real**2 + field.imag**2
        return images / len(directions)
