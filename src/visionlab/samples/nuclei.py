"""The generated set of task ``celegans_nuclei``: series of volumes of embryos whose nuclei glow, with their truths.

Embryos are those of :mod:`visionlab.samples.embryos`, their nuclei those of :mod:`visionlab.samples.ellipsoids`, the
microscope that of :mod:`visionlab.samples.fluorescence`.

Source of the layout: "Naming and file content conventions" of the Cell Tracking Challenge,
https://celltrackingchallenge.net.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from visionlab.samples.depth_mask import check_whole, save
from visionlab.samples.ellipsoids import Nucleus, Pose, body, glowing, labelled, nuclei_of, window
from visionlab.samples.embryos import Array, Embryo
from visionlab.samples.fluorescence import FINE, Grid, Optics, field_grid, photographed, seen

FIELD = (32.4, 36.0, 48.0)
"""Depth, height and width of the field of view, um."""

TIMES = (20.0, 94.0)  # minutes of the first and the last time point: from 4 to some 28 cells
TEMPI = (0.92, 1.08)
OPTICS = Optics(lateral=(0.25, 0.45), axial=(0.45, 0.7), haze=0.2, attenuation=26.0)
GLOW = 260.0  # grey levels of a nucleus near the objective, in the median
TEXTURE = 0.15  # standard deviation of the chromatin's brightness
GRAIN = 0.6  # um, size of the chromatin's texture
EXPRESSION = 0.4  # of the nuclei's brightness: reporters are expressed unevenly
CYTOPLASM = 0.15  # brightness of the egg as a share of a nucleus
SHELL = 0.03  # what the egg's rim adds

MARKER = 0.4  # size of a tracking marker as a share of its nucleus
GOLD_EVERY = 2  # time points from one with gold truth to the next
GOLD_PLANES = 2  # planes of such a time point that are annotated: those with most nuclei
COLUMNS = ("sequence", "time", "id", "z", "y", "x")
SERIES = "embryo"
"""Name of the sequence that is a single file."""


@dataclass(frozen=True)
class NucleiSet:
    """``sequences`` embryos in the layout of the Cell Tracking Challenge, and one more as a single file.

    Attributes:
        seed: at least 0; with an embryo's number it settles everything about that embryo.
        sequences: embryos 01, 02 ...; the one in series/ is none of them.
        frames: time points of each; from first to last it is always the same time.
        planes: of a volume.
        width: of a plane in pixels; the height is 3/4 of it. The field of view is always the same.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    sequences: int = 6
    frames: int = 8
    planes: int = 18
    width: int = 128

    def __post_init__(self) -> None:
        # Fewer planes or pixels would miss whole nuclei.
        sizes = {"seed": (0, 2**63), "sequences": (1, 99), "frames": (1, 999), "planes": (12, 99), "width": (48, 1024)}
        for name, (low, high) in sizes.items():
            check_whole(getattr(self, name), low, high, f"{name} of the celegans_nuclei sample")

    @property
    def grid(self) -> Grid:
        """The voxels of a volume."""
        return field_grid(FIELD, self.planes, self.width)

    @property
    def parts(self) -> int:
        """The sequences, then the single file."""
        return self.sequences + 1

    def film(self, part: int) -> Film:
        """Return the embryo of a part."""
        return Film(np.random.SeedSequence(self.seed, spawn_key=(part,)), self.grid, self.frames)

    def write_part(self, part: int, folder: Path) -> int:
        """Write all files of an embryo, and with the first one centres.csv; return the number of volumes."""
        film = self.film(part)
        if part == self.sequences:
            film.write_series(folder / "series")
            return self.frames
        if part == 0:
            rows = [row for k in range(self.sequences) for row in self.film(k).centres(_name(k))]
            save(folder / "centres.csv", table(COLUMNS, rows))
        film.write_sequence(folder, _name(part))
        return self.frames

    def source(self) -> str:
        """Return the text of SOURCE.md."""
        planes, height, width = self.grid.shape
        z, y, x = self.grid.voxel
        return f"""# Generated embryos with glowing nuclei

Synthetic volumes, made by visionlab's `samples.write("celegans_nuclei", ...)`; nothing in them was photographed.
Good for trying the commands and for tests; a model trained on them says nothing about real embryos.

- Layout, as of the Cell Tracking Challenge: `NN/tTTT.tif` (16 bits; z, y, x), `NN_ST/SEG/man_segTTT.tif` (every nucleus
  of every time point), `NN_GT/SEG/man_seg_TTT_ZZZ.tif` (every nucleus of single planes of every second time point),
  `NN_GT/TRA/man_trackTTT.tif` (markers) and `man_track.txt` (id, first and last time point, mother or 0).
- `centres.csv` (sequence, time, id, z, y, x): the centres of the ellipsoids, in voxels; the middle of a voxel has whole
  numbers. Ids are the same in all files of a sequence.
- `series/{SERIES}.tif`: another embryo as a single file of ImageJ (t, z, y, x), for predictions; no truth but
  `series/centres.csv`.
- Labels: a voxel is in a nucleus if its middle is in the ellipsoid. "ST" and "GT" are the same exact truth here.
- How: the tree of the worm's founder cells, its times rounded; cells that push each other in an egg; ellipsoids with
  texture and uneven brightness; blur that grows with depth, haze, strong attenuation, photon and read noise, camera
  offset, another brightness at every time point. The first and last planes show no nucleus.
- Size: {self.sequences} sequences x {self.frames} time points; {planes} x {height} x {width} voxels \
of {z:.3g} x {y:.3g} x {x:.3g} um.
- Seed: {self.seed}.
- License: MIT, as the project.
"""


class Film:
    """An embryo through time: its nuclei at every time point, and what a microscope sees of them.

    Args:
        seed: settles everything; a time point's noise doesn't depend on the number of time points.
        grid: voxels.
        frames: time points.
    """

    def __init__(self, seed: np.random.SeedSequence, grid: Grid, frames: int) -> None:
        first, *self._seeds = seed.spawn(1 + frames)
        rng = np.random.default_rng(first)
        self.grid = grid
        tempo = float(rng.uniform(*TEMPI))
        self.interval = (TIMES[1] - TIMES[0]) / max(frames - 1, 1)  # minutes
        self.embryo = Embryo.random(rng, until=TIMES[1] + 10, tempo=tempo)
        self.pose = Pose.random(rng, tilt=0.15, shift=1.0)
        moments = self.embryo.moments([TIMES[0] + k * self.interval for k in range(frames)])
        self.frames = [nuclei_of(self.embryo, moment, self.pose, EXPRESSION) for moment in moments]

    def volume(self, time: int) -> NDArray[np.uint16]:
        """Return the image of a time point, planes x H x W."""
        rng = np.random.default_rng(self._seeds[time])
        fine = self.grid.fine()
        grain = rng.standard_normal(self.grid.shape, np.float32)
        size = GRAIN / self.grid.voxel[1]
        for plane in grain:
            plane[:] = cv2.GaussianBlur(plane, (0, 0), size)
        texture = np.maximum(1 + np.float32(TEXTURE / grain.std()) * grain, 0)
        light = glowing(self.frames[time], fine) * np.repeat(texture, FINE, axis=0)
        where, gauge, distance = window(body(self.embryo, self.pose), fine, 2.0)
        light[where] += CYTOPLASM * (gauge < 1) + SHELL * np.exp(-np.square(distance))
        return photographed(rng, GLOW * np.float32(rng.lognormal(0, 0.25)) * seen(light, self.grid, OPTICS))

    def centres(self, sequence: str) -> list[list[Any]]:
        """Return the rows of centres.csv."""
        rows: list[list[Any]] = []
        for time, nuclei in enumerate(self.frames):
            for nucleus, place in zip(nuclei, self.grid.indices(np.array([n.centre for n in nuclei])), strict=True):
                rows.append([sequence, time, nucleus.number + 1, *(f"{value:.3f}" for value in place)])
        return rows

    def tracks(self) -> list[tuple[int, int, int, int]]:
        """Return id, first and last time point and mother of every nucleus seen; a mother not seen is passed over."""
        times: dict[int, list[int]] = {}
        for time, nuclei in enumerate(self.frames):
            for nucleus in nuclei:
                times.setdefault(nucleus.number, []).append(time)
        rows = []
        for number, present in sorted(times.items()):
            mother = self.embryo.cells[number].mother
            while mother >= 0 and mother not in times:
                mother = self.embryo.cells[mother].mother
            rows.append((number + 1, present[0], present[-1], mother + 1))
        return rows

    def write_sequence(self, folder: Path, name: str) -> None:
        """Write the images and truths of a sequence."""
        voxel = self.grid.voxel
        for time, nuclei in enumerate(self.frames):
            labels = labelled(nuclei, self.grid)
            save(folder / name / f"t{time:03d}.tif", tiff(self.volume(time), voxel))
            save(folder / f"{name}_ST" / "SEG" / f"man_seg{time:03d}.tif", tiff(labels, voxel))
            if time % GOLD_EVERY == 0:
                areas = np.count_nonzero(labels, axis=(1, 2))
                for z in sorted(np.argsort(-areas, kind="stable")[:GOLD_PLANES].tolist()):
                    save(folder / f"{name}_GT" / "SEG" / f"man_seg_{time:03d}_{z:03d}.tif", tiff(labels[z], voxel))
            markers = _marked(nuclei, self.grid)
            save(folder / f"{name}_GT" / "TRA" / f"man_track{time:03d}.tif", tiff(markers, voxel))
        lines = [" ".join(map(str, track)) for track in self.tracks()]
        save(folder / f"{name}_GT" / "TRA" / "man_track.txt", ("\n".join(lines) + "\n").encode())

    def write_series(self, folder: Path) -> None:
        """Write all time points as a hyperstack of ImageJ, and their centres."""
        z, y, x = self.grid.voxel
        told = {"axes": "TZYX", "spacing": round(z, 6), "unit": "um", "finterval": round(60 * self.interval, 3)}
        stream = io.BytesIO()
        series = np.stack([self.volume(time) for time in range(len(self.frames))])
        tifffile.imwrite(stream, series, imagej=True, resolution=(1 / x, 1 / y), metadata=told)
        save(folder / f"{SERIES}.tif", stream.getvalue())
        save(folder / "centres.csv", table(COLUMNS, self.centres(SERIES)))


def _marked(nuclei: list[Nucleus], grid: Grid) -> NDArray[np.uint16]:
    """Return tracking markers; the voxel at a nucleus's centre is one even where the marker is between planes."""
    markers = labelled(nuclei, grid, MARKER)
    for nucleus, place in zip(nuclei, grid.indices(np.array([n.centre for n in nuclei])), strict=True):
        z, y, x = np.rint(place).astype(int).tolist()
        markers[z, y, x] = nucleus.number + 1
    return markers


def _name(sequence: int) -> str:
    return f"{sequence + 1:02d}"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a table as the bytes of a csv file."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return stream.getvalue().encode()


def tiff(image: Array, voxel: tuple[float, float, float]) -> bytes:
    """Encode a plane or a volume as TIFF, without loss, with its voxel size (um) in the tags and the description."""
    z, y, x = voxel
    told: dict[str, Any] = {"axes": "ZYX"[-image.ndim :], "unit": "um"}
    if image.ndim == 3:
        told["spacing"] = round(z, 6)
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        image,
        photometric="minisblack",
        compression="zlib",
        predictor=True,
        resolution=(1e4 / x, 1e4 / y),
        resolutionunit="CENTIMETER",
        metadata=told,
    )
    return stream.getvalue()
