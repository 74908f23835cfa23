"""Opening TIFF files and images: exactly, with their axes and voxels."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image as Pillow

from tests.volume_files import RNG, SERIES, STACK, STORED, check, tiff
from visionlab.errors import DataError, UsageError
from visionlab.io import axes as volume_axes
from visionlab.io.tiff_pages import page_offsets
from visionlab.io.volumes import SUFFIXES, open_volume, read_plane

# Which axes -----------------------------------------------------------------------------------------------------------


def test_plain_pages_are_planes_of_a_volume_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume_axes._tell_once.cache_clear()
    path = tiff(tmp_path / "a.tif", STACK, metadata=None)
    with caplog.at_level(logging.INFO, "visionlab"):
        check(path, "ZYX", STACK[None, ..., None], "tiff")
        open_volume(path)
    assert sum("planes of a volume (ZYX)" in message for message in caplog.messages) == 1


def test_pages_written_one_by_one_are_planes_too(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for plane in STACK:
            writer.write(plane, photometric="minisblack", compression="zlib")
    check(tmp_path / "a.tif", "ZYX", STACK[None, ..., None], "tiff")


@pytest.mark.parametrize("metadata", [None, {}, {"axes": "QYX"}])
def test_axes_that_are_given_count_for_files_that_do_not_tell(tmp_path: Path, metadata: Any) -> None:
    path = tiff(tmp_path / "a.tif", STACK, metadata=metadata)
    check(path, "TYX", STACK[:, None, ..., None], "tiff", axes="TYX")
    check(path, "TYX", STACK[:, None, ..., None], "tiff", axes="tyxc")


@pytest.mark.parametrize(
    ("options", "axes"),
    [({"metadata": {"axes": "ZYX"}}, "ZYX"), ({"metadata": {"axes": "TYX"}}, "TYX"), ({"metadata": {}}, "ZYX")],
)
def test_axes_in_the_file_count(tmp_path: Path, options: Any, axes: str) -> None:
    path = tiff(tmp_path / "a.tif", STACK, **options)
    expected = STACK[None, ..., None] if axes == "ZYX" else STACK[:, None, ..., None]
    check(path, axes, expected, "tiff")
    if options["metadata"]:
        check(path, axes, expected, "tiff", axes="ZYX")


@pytest.mark.parametrize("metadata", [{}, {"axes": "TZYX"}])
def test_four_axes_are_time_and_z(tmp_path: Path, metadata: Any) -> None:
    check(tiff(tmp_path / "a.tif", SERIES, metadata=metadata), "TZYX", SERIES[..., None], "tiff")


def test_z_before_time_is_put_in_order(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", SERIES.swapaxes(0, 1).copy(), metadata={"axes": "ZTYX"})
    check(path, "TZYX", SERIES[..., None], "tiff")


def test_axes_of_length_one_stay_where_the_file_names_them(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK[:1], metadata={"axes": "ZYX"})
    check(path, "ZYX", STACK[None, :1, ..., None], "tiff")
    check(tiff(tmp_path / "b.tif", STACK[:1]), "YX", STACK[None, :1, ..., None], "tiff")
    check(tiff(tmp_path / "c.tif", STACK[0]), "YX", STACK[None, :1, ..., None], "tiff", axes="TYX")


def test_pages_of_one_axis_cannot_become_two(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, metadata=None)
    with pytest.raises(DataError, match=r"a\.tif: its axes are QYX \(5 x 12 x 20\).*TZYX does not fit"):
        open_volume(path, axes="TZYX")
    with pytest.raises(DataError, match="TYX does not fit"):
        open_volume(tiff(tmp_path / "b.tif", SERIES), axes="TYX")
    with pytest.raises(UsageError, match="expected one of YX, ZYX, TYX, TZYX"):
        open_volume(path, axes="XYZ")


@pytest.mark.parametrize("axes", ["XYZ", "ZXY", "YXZ"])
def test_other_orders_are_refused_with_the_way_to_save_them(tmp_path: Path, axes: str) -> None:
    path = tiff(tmp_path / "a.tif", STACK, metadata={"axes": axes})
    with pytest.raises(DataError, match=rf"a\.tif: has axes {axes} \(5 x 12 x 20\).*tifffile\.imwrite"):
        open_volume(path)


def test_axes_without_a_meaning_here_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.tif: has the axis P: its axes are PZYX \(3 x 4 x 12 x 20\)"):
        open_volume(tiff(tmp_path / "a.tif", SERIES, metadata={"axes": "PZYX"}))
    five = np.zeros((2, 2, 2, 4, 5), np.uint8)
    with pytest.raises(DataError, match=r"a\.tif: its axes are QQQYX .* 3 of them without a name"):
        open_volume(tiff(tmp_path / "a.tif", five))


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {}])
def test_channels_of_a_few_pages_come_last(tmp_path: Path, options: Any) -> None:
    image = RNG.integers(0, 65536, (4, 2, 12, 20), dtype=np.uint16)
    path = tiff(tmp_path / "a.tif", image, metadata={"axes": "ZCYX"}, **options)
    form = next(iter(options), "tiff")
    check(path, "ZYXC", np.moveaxis(image, 1, -1)[None], form)
    if form != "imagej":
        path = tiff(tmp_path / "b.tif", image.swapaxes(0, 1).copy(), metadata={"axes": "CZYX"}, **options)
        check(path, "ZYXC", np.moveaxis(image, 1, -1)[None], form)


def test_many_channels_of_pages_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, ome=True, metadata={"axes": "CYX"})
    with pytest.raises(DataError, match=r"5 pages of 1 channels make a plane: its axes are CYX \(5 x 12 x 20\)"):
        open_volume(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_stays_colour(tmp_path: Path, planar: str) -> None:
    image = RNG.integers(0, 256, (4, 12, 20, 3), dtype=np.uint8)
    stored = image if planar == "contig" else np.moveaxis(image, -1, 1).copy()
    path = tiff(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    check(path, "ZYXC", image[None], "tiff")
    axes = {"axes": "ZYXS" if planar == "contig" else "ZSYX"}
    path = tiff(tmp_path / "b.tif", stored, photometric="rgb", planarconfig=planar, ome=True, metadata=axes)
    check(path, "ZYXC", image[None], "ome")
    if planar == "contig":
        check(
            tiff(tmp_path / "c.tif", stored, photometric="rgb", imagej=True, metadata=axes),
            "ZYXC",
            image[None],
            "imagej",
        )


# ImageJ ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["micron", "um", "µm", "\\u00B5m"])
def test_imagej_hyperstack_with_voxels(tmp_path: Path, unit: str) -> None:
    metadata = {"axes": "TZYX", "spacing": 1.5, "unit": unit, "finterval": 60.5}
    if unit == "µm":  # tifffile writes ASCII, other programs Latin-1
        metadata["unit"] = "XXm"
    path = tiff(tmp_path / "a.tif", SERIES, imagej=True, resolution=(4, 2), metadata=metadata)
    path.write_bytes(path.read_bytes().replace(b"unit=XXm", b"unit=\xb5m "))
    volume = check(path, "TZYX", SERIES[..., None], "imagej")
    assert (volume.voxel, volume.interval) == ((1.5, 0.5, 0.25), 60.5)


@pytest.mark.parametrize(
    ("unit", "voxel"),
    [
        ("nm", (0.3, 0.0005, 0.00025)),
        ("mm", (300000.0, 500.0, 250.0)),
        ("pixel", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_imagej_units(tmp_path: Path, unit: str | None, voxel: Any) -> None:
    metadata = {"axes": "ZYX", "spacing": 300.0, **({"unit": unit} if unit else {})}
    path = tiff(tmp_path / "a.tif", STACK, imagej=True, resolution=(4, 2), metadata=metadata)
    assert open_volume(path).voxel == voxel


def test_imagej_spacing_may_be_negative_and_numbers_useless(tmp_path: Path) -> None:
    options: Any = {"imagej": True, "resolution": (4, 4)}
    path = tiff(tmp_path / "a.tif", STACK, metadata={"axes": "ZYX", "unit": "um", "spacing": -2.0}, **options)
    assert open_volume(path).voxel == (2.0, 0.25, 0.25)
    path = tiff(tmp_path / "a.tif", STACK, metadata={"axes": "TYX", "unit": "um", "finterval": 0.0}, **options)
    assert open_volume(path).interval is None
    path = tiff(tmp_path / "a.tif", STACK, metadata={"axes": "ZYX", "unit": "um", "spacing": float("nan")}, **options)
    assert open_volume(path).voxel[0] is None


def test_imagej_stack_that_is_no_hyperstack_may_be_a_movie(tmp_path: Path) -> None:
    """ImageJ calls the images of any stack slices."""
    path = tiff(tmp_path / "a.tif", STACK, description="ImageJ=1.53t\nimages=5\nslices=5\nloop=false\n", metadata=None)
    check(path, "ZYX", STACK[None, ..., None], "imagej")
    check(path, "TYX", STACK[:, None, ..., None], "imagej", axes="TYX")
    hyper = tiff(tmp_path / "b.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    check(hyper, "ZYX", STACK[None, ..., None], "imagej", axes="TYX")


def test_imagej_stack_behind_a_single_page(tmp_path: Path) -> None:
    """ImageJ writes stacks of more than 4 GB so: the planes follow the first without pages of their own."""
    path = bare(tmp_path / "a.tif", 5)
    check(path, "ZYX", STACK[None, ..., None], "imagej")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"a\.tif: truncated TIFF file: 4 of 5 planes are whole"):
        open_volume(path)


def bare(path: Path, images: int) -> Path:
    """Write a big-endian ImageJ stack of one page."""
    description = f"ImageJ=1.53t\nimages={images}\nslices={images}\nhyperstack=true\n"
    tiff(path, STACK[0], byteorder=">", description=description, metadata=None)
    with tifffile.TiffFile(path) as tif:
        (offset,) = tif.pages.first.dataoffsets
    start = path.read_bytes()
    assert offset + STACK[0].nbytes == len(start)
    path.write_bytes(start + STACK[1:].astype(">u2").tobytes())
    return path


@pytest.mark.parametrize("description", ["images=7\nslices=7\n", "images=0\nslices=0\n", "images=5\nslices=many\n"])
def test_imagej_that_promises_other_planes_is_refused(tmp_path: Path, description: str) -> None:
    path = tiff(
        tmp_path / "a.tif", STACK, description=f"ImageJ=1.53t\n{description}", metadata=None, compression="zlib"
    )
    with pytest.raises(DataError, match=r"a\.tif: .*(7 planes, found 5 pages|not valid)"):
        open_volume(path)


# OME ------------------------------------------------------------------------------------------------------------------


def ome(path: Path, image: np.ndarray, **metadata: Any) -> Path:
    return tiff(path, image, ome=True, metadata={"axes": "TZYX"[-image.ndim :], **metadata})


def test_ome_with_voxels(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeZ": 0.0015}
    units = {"PhysicalSizeZUnit": "mm", "TimeIncrement": 2, "TimeIncrementUnit": "min"}
    volume = check(ome(tmp_path / "a.ome.tif", SERIES, **sizes, **units), "TZYX", SERIES[..., None], "ome")
    assert (volume.voxel, volume.interval) == ((1.5, 0.5, 0.25), 120.0)


def test_ome_without_voxels(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", STACK, PhysicalSizeX=1.0, PhysicalSizeXUnit="pixel")
    volume = check(path, "ZYX", STACK[None, ..., None], "ome")
    assert (volume.voxel, volume.interval) == ((None, None, None), None)


def xml(path: Path, pixels: str, count: int = 4, start: str = "") -> Path:
    """Write pages with OME-XML of our own."""
    text = (
        f'<?xml version="1.0"?>{start}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>'
        f'<Pixels ID="Pixels:0" Type="uint16" SizeX="20" SizeY="12" {pixels}</Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(path, ome=False) as writer:
        for i in range(count):
            writer.write(STACK[i], photometric="minisblack", metadata=None, description="" if i else text)
    return path


def test_ome_pages_stand_where_the_file_says(tmp_path: Path) -> None:
    order = 'DimensionOrder="XYZTC" SizeC="1" SizeZ="2" SizeT="2">'
    entries = "".join(
        f'<TiffData IFD="{page}" FirstZ="{z}" FirstT="{t}"/>'
        for page, (z, t) in enumerate([(1, 1), (0, 1), (1, 0), (0, 0)])
    )
    path = xml(tmp_path / "a.tif", order + entries)
    check(path, "TZYX", STACK[[3, 2, 1, 0]].reshape(2, 2, 12, 20, 1), "ome")
    order = 'DimensionOrder="XYTZC" SizeC="1" SizeZ="2" SizeT="2">'
    path = xml(tmp_path / "b.tif", order + "<TiffData/>")
    check(path, "TZYX", STACK[[0, 2, 1, 3]].reshape(2, 2, 12, 20, 1), "ome")


@pytest.mark.parametrize(
    ("pixels", "start", "message"),
    [
        ('DimensionOrder="XYZTC" SizeC="1" SizeZ="5" SizeT="1"><TiffData/>', "", "5 planes, 1 of them are not in"),
        ('DimensionOrder="XYZTC" SizeC="1" SizeZ="4" SizeT="1"><TiffData IFD="0"/>', "", "4 planes, 3 of them are not"),
        ('DimensionOrder="XYZTC" SizeC="1" SizeZ="0" SizeT="1"><TiffData/>', "", "holds no planes"),
        (
            'DimensionOrder="XYZTC" SizeC="1" SizeZ="99999999" SizeT="999"><TiffData/>',
            "",
            "claims .* planes, 4 are there",
        ),
        ('DimensionOrder="ZYXTC" SizeC="1" SizeZ="4" SizeT="1"><TiffData/>', "", "not valid"),
        ('DimensionOrder="XYZTC" SizeC="1" SizeZ="4" SizeT="x"><TiffData/>', "", "not valid"),
        ('DimensionOrder="XYZTC" SizeC="1" SizeZ="4" SizeT="1"><TiffData FirstZ="9"/>', "", "not valid"),
        (
            'DimensionOrder="XYZTC" SizeC="1" SizeZ="4" SizeT="1">'
            '<TiffData IFD="0" PlaneCount="2"><UUID FileName="a">1</UUID></TiffData>'
            '<TiffData IFD="0" FirstZ="2" PlaneCount="2"><UUID FileName="b">2</UUID></TiffData>',
            "",
            "one of several files",
        ),
        ('DimensionOrder="XYZTC" SizeZ="4"></Pixels><Pixels>', "", "2 images"),
        ('DimensionOrder="XYZTC" SizeZ="4"><TiffData/>', "<!DOCTYPE a>", "entities"),
        ('DimensionOrder="XYZTC" SizeZ="4"><TiffData/></Pixels>', "", "damaged"),
    ],
)
def test_ome_that_promises_other_planes_is_refused(tmp_path: Path, pixels: str, start: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.tif: .*{message}"):
        open_volume(xml(tmp_path / "a.tif", pixels, start=start))


def test_ome_with_several_scenes_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(STACK, photometric="minisblack")
        writer.write(STACK, photometric="minisblack")
    with pytest.raises(DataError, match="2 images"):
        open_volume(tmp_path / "a.ome.tif")


# How it is stored -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", STORED.values(), ids=STORED)
def test_stored_in_any_way(tmp_path: Path, options: dict[str, Any]) -> None:
    check(tiff(tmp_path / "a.tif", STACK, **options), "ZYX", STACK[None, ..., None], "tiff")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (STACK.astype(np.int32), STACK),
        ((STACK % 100).astype(np.int8), (STACK % 100).astype(np.uint8)),
        (STACK.astype(np.float64), STACK.astype(np.float32)),
        (STACK > 30000, np.where(STACK > 30000, 255, 0).astype(np.uint8)),
    ],
    ids=lambda value: str(value.dtype),
)
def test_types_are_read_as_of_images(tmp_path: Path, stored: np.ndarray, expected: np.ndarray) -> None:
    check(tiff(tmp_path / "a.tif", stored), "ZYX", expected[None, ..., None], "tiff")


@pytest.mark.parametrize("value", [-1, 70000, 0.1, np.nan, np.inf])
def test_values_that_would_change_are_refused_where_they_are(tmp_path: Path, value: float) -> None:
    image = np.zeros((3, 4, 5), np.int32 if isinstance(value, int) else np.float64)
    image[1, 2, 3] = value
    path = tiff(tmp_path / "a.tif", image)
    volume = open_volume(path)
    assert not volume.plane(0).any()
    with pytest.raises(DataError, match=r"a\.tif: .*(cannot hold exactly|NaN and . infinite, of 20 of plane 1)"):
        volume.plane(1)


@pytest.mark.parametrize(
    ("options", "voxel"),
    [
        ({"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}, (None, 0.5, 0.25)),
        (
            {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER", "metadata": {"spacing": 2, "unit": "um"}},
            (2.0, 0.5, 0.25),
        ),
        ({"resolution": (4, 2), "resolutionunit": "NONE", "metadata": {"spacing": 2, "unit": "um"}}, (2.0, 0.5, 0.25)),
        ({"resolution": (4, 2), "resolutionunit": "NONE"}, (None, None, None)),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_voxels_of_plain_files(tmp_path: Path, options: Any, voxel: Any) -> None:
    assert open_volume(tiff(tmp_path / "a.tif", STACK, **options)).voxel == voxel


def test_only_the_page_that_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib")
    volume = open_volume(path)
    asked = []
    read = tifffile.TiffPage.asarray

    def counted_read(page: Any, **options: Any) -> Any:
        asked.append(page.offset)
        return read(page, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", counted_read)
    volume.plane(3)
    assert len(asked) == 1


def test_reading_again_does_not_look_at_all_pages_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "a.tif", STACK)
    walked: list[Any] = []

    def counted_walk(path: Path) -> Any:
        walked.append(path)
        return page_offsets(path)

    monkeypatch.setattr("visionlab.io.tiff.page_offsets", counted_walk)
    for index in (0, 1, 0, 4):
        np.testing.assert_array_equal(read_plane(path, index)[..., 0], STACK[index])
    assert len(walked) == 1
    tiff(path, STACK[::-1])  # a file that changed is looked at again
    np.testing.assert_array_equal(read_plane(path, 0)[..., 0], STACK[4])
    assert len(walked) == 2


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"v": np.moveaxis(STACK, 0, -1)})
    paths = [tiff(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=3), tmp_path / "a.mat"]
    jobs = [(path, index) for index in range(5) for path in paths] * 20
    with ThreadPoolExecutor(8) as pool:
        for (_, index), plane in zip(jobs, pool.map(lambda job: read_plane(*job), jobs), strict=True):
            np.testing.assert_array_equal(plane[..., 0], STACK[index])


def test_a_description_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    volume = pickle.loads(pickle.dumps(open_volume(tiff(tmp_path / "a.tif", STACK))))
    np.testing.assert_array_equal(volume.frame(0)[..., 0], STACK)


@pytest.mark.parametrize("index", [-1, 5])
def test_planes_and_time_points_that_are_not_there(tmp_path: Path, index: int) -> None:
    path = tiff(tmp_path / "a.tif", STACK)
    with pytest.raises(DataError, match=rf"a\.tif: holds the planes 0 to 4; number {index} is not there"):
        read_plane(path, index)
    with pytest.raises(DataError, match=r"time points 0 to 0; number 1"):
        open_volume(path).frame(1)


# Images ---------------------------------------------------------------------------------------------------------------


def test_png_and_jpeg_are_volumes_of_one_plane(tmp_path: Path, write_png: Any) -> None:
    write_png(tmp_path / "a.png", STACK[0])
    volume = check(tmp_path / "a.png", "YX", STACK[None, :1, ..., None], "image")
    assert (volume.voxel, volume.interval) == ((None, None, None), None)
    Pillow.fromarray(np.full((8, 9, 3), 7, np.uint8)).save(tmp_path / "a.jpg")
    assert open_volume(tmp_path / "a.jpg").shape == (8, 9, 3)
    assert {"png", "jpg", "tif", "mat", "mp4"} <= SUFFIXES


def test_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(np.full((4, 5), value, np.uint8)) for value in (0, 9)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation of 2 frames"):
        open_volume(tmp_path / "a.png")
