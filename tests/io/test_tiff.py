"""What TIFF files say of themselves: axes, channels, voxel sizes; and what is refused since it contradicts itself."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.io.written import RGB, RNG, SERIES, STACK, tiff
from visionlab.errors import DataError
from visionlab.io import open_volume, plane, read_image, read_labels
from visionlab.io.volume import tell_once

# Which axes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [None, {}, {"axes": "QYX"}])
def test_axes_that_are_given_count_for_files_that_do_not_tell(tmp_path: Path, metadata: Any) -> None:
    path = tiff(tmp_path / "a.tif", STACK, metadata=metadata)
    for axes in ("TYX", "tyxc"):
        found = open_volume(path, axes=axes)
        assert (found.axes, found.shape) == ("TYX", STACK.shape)
        np.testing.assert_array_equal(found.frame(3)[0, ..., 0], STACK[3])
    told = tiff(tmp_path / "b.tif", STACK, metadata={"axes": "ZYX"})
    assert open_volume(told, axes="TYX").axes == "ZYX"
    with pytest.raises(DataError, match=r"a\.tif: its axes are QYX \(5 x 12 x 20\).*TZYX does not fit"):
        open_volume(path, axes="TZYX")


def test_what_axes_were_taken_as_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_once.cache_clear()
    caplog.set_level("INFO", logger="visionlab")
    for name in "abc":
        open_volume(tiff(tmp_path / f"{name}.tif", STACK, metadata=None), axes="TYX" if name == "a" else None)
        open_volume(tiff(tmp_path / f"{name}2.tif", STACK, metadata={"axes": "ZYX"}))
    assert [record.message for record in caplog.records] == [
        "Files that do not say what their pages are: taken as planes of a volume (ZYX)"
    ]


@pytest.mark.parametrize("axes", ["ZTYX", "TZYX"])
def test_axes_are_put_in_order(tmp_path: Path, axes: str) -> None:
    stored = SERIES if axes == "TZYX" else SERIES.swapaxes(0, 1).copy()
    found = open_volume(tiff(tmp_path / "a.tif", stored, metadata={"axes": axes}))
    assert (found.axes, found.shape) == ("TZYX", SERIES.shape)
    np.testing.assert_array_equal(found.frame(2)[..., 0], SERIES[2])


def test_axes_of_length_one_stay_where_the_file_names_them(tmp_path: Path) -> None:
    assert open_volume(tiff(tmp_path / "a.tif", STACK[:1], metadata={"axes": "ZYX"})).axes == "ZYX"
    assert open_volume(tiff(tmp_path / "b.tif", STACK[:1])).axes == "YX"
    assert open_volume(tiff(tmp_path / "c.tif", STACK[0]), axes="TYX").axes == "YX"


@pytest.mark.parametrize(
    ("image", "axes", "message"),
    [
        (STACK, "XYZ", r"has axes XYZ \(5 x 12 x 20\).*tifffile\.imwrite"),
        (STACK, "YXZ", r"has axes YXZ \(5 x 12 x 20\).*tifffile\.imwrite"),
        (SERIES, "PZYX", r"its axes are PZYX \(3 x 4 x 12 x 20\), of which P is not read"),
        (np.zeros((2, 2, 2, 4, 5), np.uint8), "QQQYX", "3 of them without a name"),
        (np.stack([RGB] * 2), "CYXS", "channels of colours"),
    ],
)
def test_axes_in_doubt_are_refused_with_the_way_to_save_them(
    tmp_path: Path, image: np.ndarray, axes: str, message: str
) -> None:
    photometric = "rgb" if axes == "CYXS" else "minisblack"
    with pytest.raises(DataError, match=rf"a\.tif: .*{message}"):
        open_volume(tiff(tmp_path / "a.tif", image, photometric=photometric, metadata={"axes": axes}))


def test_imagej_stack_that_is_no_hyperstack_may_be_a_movie(tmp_path: Path) -> None:
    """ImageJ calls the images of any stack slices."""
    path = tiff(tmp_path / "a.tif", STACK, description="ImageJ=1.53t\nimages=5\nslices=5\nloop=false\n", metadata=None)
    assert (open_volume(path).axes, open_volume(path, axes="TYX").axes) == ("ZYX", "TYX")
    hyper = tiff(tmp_path / "b.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    assert open_volume(hyper, axes="TYX").axes == "ZYX"


# Channels -------------------------------------------------------------------------------------------------------------

STAINED = RNG.integers(0, 65536, (4, 3, 12, 20), dtype=np.uint16)  # ZCYX
FORMS: dict[str, dict[str, Any]] = {
    "imagej": {"imagej": True, "metadata": {"axes": "ZCYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "GFP", "GFP"]}}},
    "tiff": {"metadata": {"axes": "ZCYX"}, "compression": "zlib"},
    "samples": {"planarconfig": "contig"},
}


@pytest.mark.parametrize("form", FORMS)
def test_an_axis_of_channels_is_no_colours(tmp_path: Path, form: str) -> None:
    """Three stains were once weighted as red, green and blue, and the last of two taken for transparency."""
    image = np.moveaxis(STAINED, 1, -1).copy() if form == "samples" else STAINED
    path = tiff(tmp_path / "a.tif", image, **FORMS[form])
    found = open_volume(path)
    names = ("DAPI", "GFP", "GFP") if form == "ome" else ("0", "1", "2")
    assert (found.axes, found.shape, found.stains) == ("ZYXC", (4, 12, 20, 3), names)
    shown = r"0 \(DAPI\), 1 \(GFP\), 2 \(GFP\)" if form == "ome" else "0, 1, 2"
    for read in (found.plane, lambda: read_image(plane(str(path), 0))):
        with pytest.raises(DataError, match=rf"a\.tif: holds the channels {shown}.*data\.stain=0 .*\[0,1,2\]"):
            read()
    for stains in ((1,), (2, 0), (0, 1, 2)):
        chosen = open_volume(path, stains=stains)
        many = len(stains) > 1
        assert (chosen.axes, chosen.channels, chosen.stains) == ("ZYXC" if many else "ZYX", len(stains), ())
        np.testing.assert_array_equal(chosen.frame(0), np.moveaxis(STAINED, 1, -1)[..., list(stains)])
        np.testing.assert_array_equal(read_image(plane(str(path), 2), stains), chosen.plane(0, 2))
    with pytest.raises(DataError, match=r"has no channel 3; it holds the channels"):
        open_volume(path, stains=(3,))
    with pytest.raises(DataError, match="expected labels with one id a pixel, found 3 channels that differ"):
        read_labels(path)


def test_channels_are_chosen_by_name(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STAINED, **FORMS["ome"])
    np.testing.assert_array_equal(open_volume(path, stains=("DAPI",)).frame(0)[..., 0], STAINED[:, 0])
    with pytest.raises(DataError, match="several channels GFP"):
        open_volume(path, stains=("GFP",))
    with pytest.raises(DataError, match=r"no channel dapi; .* Did you mean 'DAPI'\?"):
        open_volume(path, stains=("dapi",))


def test_files_without_the_axis_are_one_channel_or_refused(tmp_path: Path) -> None:
    gray, colour = tiff(tmp_path / "a.tif", STACK[0]), tiff(tmp_path / "b.tif", RGB, photometric="rgb")
    np.testing.assert_array_equal(read_image(gray, ("DAPI",))[..., 0], STACK[0])
    with pytest.raises(DataError, match=r"b\.tif: expected an axis of channels of which to take 0, found 3 colours"):
        read_image(colour, (0,))
    with pytest.raises(DataError, match=r"take 0, 1, found one channel"):
        read_image(gray, (0, 1))


# Voxel sizes ----------------------------------------------------------------------------------------------------------


CM: dict[str, Any] = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}
OME = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeZ": 0.0015}


def in_imagej(unit: str | None = None, **said: Any) -> dict[str, Any]:
    told = {"axes": "TZYX", **({"unit": unit} if unit else {}), **said}
    return {"imagej": True, "resolution": (4, 2), "metadata": told}


@pytest.mark.parametrize(
    ("options", "voxel_size", "interval"),
    [
        (in_imagej("micron", spacing=1.5, finterval=60.5), (1.5, 0.5, 0.25), 60.5),
        (in_imagej("\\u00B5m", spacing=1.5), (1.5, 0.5, 0.25), None),
        (in_imagej("XXm", spacing=1.5), (1.5, 0.5, 0.25), None),  # becomes Latin-1, which tifffile cannot write
        (in_imagej("nm", spacing=300.0), (0.3, 0.0005, 0.00025), None),
        (in_imagej("mm", spacing=300.0), (300000.0, 500.0, 250.0), None),
        (in_imagej("pixel", spacing=300.0), (None, None, None), None),
        (in_imagej(spacing=300.0), (None, None, None), None),
        (in_imagej("um", spacing=-2.0), (2.0, 0.5, 0.25), None),
        (in_imagej("um", spacing=float("nan"), finterval=0.0), (None, 0.5, 0.25), None),
        (CM, (None, 0.5, 0.25), None),
        ({**CM, "metadata": {"spacing": 2, "unit": "um"}}, (2.0, 0.5, 0.25), None),
        ({**CM, "resolutionunit": "NONE"}, (None, None, None), None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, (None, None, None), None),
        ({}, (None, None, None), None),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "TZYX",
                    **OME,
                    "PhysicalSizeZUnit": "mm",
                    "TimeIncrement": 2,
                    "TimeIncrementUnit": "min",
                },
            },
            (1.5, 0.5, 0.25),
            120.0,
        ),
        (
            {"ome": True, "metadata": {"axes": "TZYX", "PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel"}},
            (None, None, None),
            None,
        ),
    ],
)
def test_voxel_sizes_and_intervals(tmp_path: Path, options: Any, voxel_size: Any, interval: float | None) -> None:
    path = tiff(tmp_path / "a.tif", SERIES, **options)
    path.write_bytes(path.read_bytes().replace(b"unit=XXm", b"unit=\xb5m "))
    assert (open_volume(path).voxel_size, open_volume(path).interval) == (voxel_size, interval)


# Contradictions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["images=7\nslices=7\n", "images=0\nslices=0\n", "images=5\nslices=many\n"])
@pytest.mark.parametrize("pages", [5, 1])
def test_imagej_that_promises_other_planes_is_refused(tmp_path: Path, said: str, pages: int) -> None:
    description = f"ImageJ=1.53t\n{said}"
    path = tiff(tmp_path / "a.tif", STACK[:pages], description=description, metadata=None, compression="zlib")
    with pytest.raises(DataError, match=r"a\.tif: .*(truncated|damaged)"):
        open_volume(path)


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
    places = enumerate([(1, 1), (0, 1), (1, 0), (0, 0)])
    entries = "".join(f'<TiffData IFD="{page}" FirstZ="{z}" FirstT="{t}"/>' for page, (z, t) in places)
    found = open_volume(xml(tmp_path / "a.tif", order + entries))
    np.testing.assert_array_equal(found.frame(0)[..., 0], STACK[[3, 2]])
    np.testing.assert_array_equal(found.frame(1)[..., 0], STACK[[1, 0]])
    order = 'DimensionOrder="XYTZC" SizeC="1" SizeZ="2" SizeT="2">'
    found = open_volume(xml(tmp_path / "b.tif", order + "<TiffData/>"))
    np.testing.assert_array_equal(found.frame(1)[..., 0], STACK[[1, 3]])


ORDER = 'DimensionOrder="XYZTC" SizeC="1"'


@pytest.mark.parametrize(
    ("pixels", "start", "message"),
    [
        (f'{ORDER} SizeZ="5" SizeT="1"><TiffData/>', "", "5 planes, 4 are there"),
        (f'{ORDER} SizeZ="3" SizeT="1"><TiffData/>', "", "(expected 3 frames, got 4|3 planes, . are there in 4)"),
        (f'{ORDER} SizeZ="4" SizeT="1"><TiffData IFD="0"/>', "", "4 planes, 1 are there"),
        (f'{ORDER} SizeZ="0" SizeT="1"><TiffData/>', "", r"claims 1 x 0 x 1 planes \(time, z, channels\), 4 are there"),
        (f'{ORDER} SizeZ="99999999" SizeT="999"><TiffData/>', "", "claims .* planes, 4 are there"),
        (f'{ORDER} SizeZ="4" SizeT="1"><TiffData PlaneCount="999999999"/>', "", "claims .* planes, 4 are there"),
        ('DimensionOrder="ZYXTC" SizeC="1" SizeZ="4" SizeT="1"><TiffData/>', "", "damaged"),
        (f'{ORDER} SizeZ="4" SizeT="x"><TiffData/>', "", "damaged"),
        (f'{ORDER} SizeZ="4" SizeT="1"><TiffData FirstZ="9"/>', "", "damaged"),
        (
            f'{ORDER} SizeZ="4" SizeT="1">'
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


def test_files_of_several_scenes_sizes_or_types_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "scenes.tif", ome=True) as writer:
        for _ in range(2):
            writer.write(STACK, photometric="minisblack")
    others = {"size": np.zeros((6, 10), np.uint16), "other": np.zeros((7, 9), np.uint16), "type": STACK[0] > 9}
    for name, other in others.items():
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as writer:
            writer.write(STACK[0], metadata=None, photometric="minisblack")
            writer.write(other, metadata=None, photometric="minisblack")
    for name in ("scenes", *others):
        with pytest.raises(DataError, match=rf"{name}\.tif: .*(2 images|previews)"):
            open_volume(tmp_path / f"{name}.tif")
    tiff(tmp_path / "volume.tif", np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(DataError, match="volumes of 16 planes"):
        open_volume(tmp_path / "volume.tif")


def test_pages_that_lead_back_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, last = tif.pages[0].offset, tif.pages[-1].offset
    data = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * tags, first)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tif: .*damaged"):
        open_volume(path)


def test_a_strip_that_was_never_written_is_not_filled_with_zeros(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", STACK, compression="zlib", rowsperstrip=5)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages[2].aspage().tags["StripByteCounts"]
    data = bytearray(path.read_bytes())
    data[tag.valueoffset : tag.valueoffset + 2] = bytes(2)
    path.write_bytes(data)
    with pytest.raises(DataError, match="1 of 3 strips or tiles of page 2 are missing"):
        open_volume(path)


def test_only_the_pages_that_are_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiff(tmp_path / "a.tif", STAINED, **FORMS["tiff"])
    found = open_volume(path, stains=(1,))
    asked = []
    read = tifffile.TiffPage.asarray

    def counted(page: Any, **options: Any) -> Any:
        asked.append(page.offset)
        return read(page, **options)

    monkeypatch.setattr(tifffile.TiffPage, "asarray", counted)
    monkeypatch.setattr(tifffile.TiffFile, "series", None)  # for which all pages are looked at
    np.testing.assert_array_equal(found.plane(0, 3)[..., 0], STAINED[3, 1])
    assert len(asked) == 1


def test_the_advice_on_axes_makes_a_file_that_can_be_read(tmp_path: Path) -> None:
    volume_zyx = np.zeros((3, 8, 9), np.uint16)
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, volume_zyx, photometric="rgb", planarconfig="separate", metadata={"axes": "ZYX"})
    with pytest.raises(DataError, match="photometric='minisblack'") as caught:
        open_volume(path)
    exec(str(caught.value)[str(caught.value).index("tifffile.imwrite") :])
    assert open_volume(path).axes == "ZYX"
