"""Single images: every depth and colour kind of PNG, JPEG, NumPy and TIFF, and what becomes of their values."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from tests.conftest import SHARED
from tests.io.written import FLOAT, RGB, RGBA, RNG, STACK, jpeg, npy, tiff
from visionlab.errors import DataError
from visionlab.io import dtype_range, open_volume, read_image, to_channels

GRAY, GRAY16 = RGB[..., 0].copy(), STACK[0]


def raw_png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def check(path: Path, expected: np.ndarray) -> None:
    """The pixels are exact and the header agrees with them."""
    image, head = read_image(path), open_volume(path)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(image, expected)
    assert (head.height, head.width, head.channels) == image.shape
    assert head.dtype == image.dtype.name


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_is_scaled_to_8(tmp_path: Path, bits: int) -> None:
    values = RNG.integers(0, 2**bits, (4, 9))
    rows = b""
    for row in values:
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    (tmp_path / "a.png").write_bytes(raw_png(9, 4, bits, rows))
    check(tmp_path / "a.png", (values * (255 // (2**bits - 1))).astype(np.uint8))


def test_png_palette_becomes_rgb_and_a_transparent_colour_alpha(tmp_path: Path) -> None:
    palette = Pillow.fromarray(RGB).quantize(7)
    palette.save(tmp_path / "a.png")
    check(tmp_path / "a.png", np.array(palette.convert("RGB")))
    Pillow.fromarray(GRAY).save(tmp_path / "a.png", transparency=int(GRAY[0, 0]))
    alpha = np.where(GRAY[0, 0] == GRAY, 0, 255).astype(np.uint8)
    check(tmp_path / "a.png", np.stack([GRAY, alpha], axis=-1))


def test_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(GRAY), Pillow.fromarray(255 - GRAY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="animation of 2 frames"):
        open_volume(tmp_path / "a.png")


def test_every_flipped_byte_of_a_png_is_refused_or_harmless(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    Pillow.fromarray(RGB[:6, :6]).save(tmp_path / "b.png", exif=exif)
    expected, data = read_image(tmp_path / "b.png"), (tmp_path / "b.png").read_bytes()
    path = tmp_path / "a.png"
    for position in range(8, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            image = read_image(path)
        except DataError:
            continue
        # A part whose name is unknown now is passed over, the orientation with it.
        assert data.index(b"eXIf") <= position < data.index(b"eXIf") + 4 or np.array_equal(image, expected)


@pytest.mark.parametrize("image", [GRAY, RGB], ids=["gray", "rgb"])
def test_jpeg_is_read_as_pillow_reads_it(tmp_path: Path, image: np.ndarray) -> None:
    check(jpeg(tmp_path / "a.jpg", image), np.array(Pillow.open(tmp_path / "a.jpg")))


def test_colour_kinds_that_are_refused(tmp_path: Path) -> None:
    Pillow.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    tiff(tmp_path / "white.tif", GRAY, photometric="miniswhite")
    tiff(tmp_path / "palette.tif", GRAY, photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    for name, message in (("a.jpg", "CMYK"), ("white.tif", "white as 0"), ("palette.tif", "PALETTE")):
        with pytest.raises(DataError, match=rf"{name}: .*{message}"):
            open_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GRAY16.astype(np.int32), GRAY16),
        (GRAY16.astype(np.uint32), GRAY16),
        ((GRAY16 // 2).astype(np.int16), GRAY16 // 2),
        ((GRAY // 2).astype(np.int8), GRAY // 2),
        (FLOAT.astype(np.float64), FLOAT),
        (FLOAT.astype(np.float16), FLOAT.astype(np.float16).astype(np.float32)),
        (GRAY > 99, np.where(GRAY > 99, 255, 0).astype(np.uint8)),
    ],
    ids=lambda value: str(value.dtype),
)
@pytest.mark.parametrize("write", [tiff, npy])
def test_types_are_converted_where_every_value_fits(
    tmp_path: Path, write: Any, stored: np.ndarray, expected: np.ndarray
) -> None:
    path = write(tmp_path / "a", stored)
    path = path if path.is_file() else path.with_suffix(".npy")
    check(path, expected)
    assert open_volume(path).stored == stored.dtype.name


@pytest.mark.parametrize(
    "stored",
    [
        np.array([[0, -1]], np.int16),
        np.array([[0, 65536]], np.int32),
        np.array([[0.1, 0.2]], np.float64),
        np.array([[1e300, 0]], np.float64),
        np.array([[1j, 0]], np.complex64),
    ],
    ids=lambda value: str(value.dtype),
)
def test_values_that_would_change_are_refused(tmp_path: Path, stored: np.ndarray) -> None:
    path = tiff(tmp_path / "a.tif", stored)
    with pytest.raises(DataError, match=rf"a\.tif: .*{stored.dtype}.*uint8, uint16 or float32"):
        read_image(path)


def test_nan_and_infinity_are_refused(tmp_path: Path) -> None:
    image = FLOAT.copy()
    image[3, 4] = np.nan
    image[5, :2] = np.inf
    for dtype in (np.float32, np.float64):
        path = tiff(tmp_path / "a.tif", image.astype(dtype))
        with pytest.raises(DataError, match=r"a\.tif: 1 values are NaN and 2 infinite, of 240"):
            read_image(path)


def test_tiff_with_jpeg_inside_comes_as_rgb(tmp_path: Path) -> None:
    smooth = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    data = io.BytesIO()
    Pillow.fromarray(smooth).save(data, "tiff", compression="jpeg")
    (tmp_path / "a.tif").write_bytes(data.getvalue())
    assert np.abs(read_image(tmp_path / "a.tif").astype(int) - smooth).max() <= 4
    assert open_volume(tmp_path / "a.tif").lossy == "JPEG"


# NumPy ----------------------------------------------------------------------------------------------------------------


def header_only(shape: tuple[int, ...], descr: str = "<f4", body: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + body


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header_only((10**6, 10**6)), "at most"),
        (header_only((0, 5)), "0 x 5 pixels"),
        (header_only((4, 5), body=bytes(79)), "truncated NumPy file: expected 208 bytes, found 207"),
        (header_only((4, 5), body=bytes(81)), "something behind its array"),
        (header_only((4, 5, 3), body=bytes(240)), r"shape \(4, 5, 3\)"),
        (header_only((20,), body=bytes(80)), r"shape \(20,\)"),
        (header_only((4, 5), "<c8", bytes(160)), "complex64"),
        (header_only((4, 5), "|O", bytes(160)), "object"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "damaged or truncated NumPy file"),
        (b"\x93NUMPY\x01\x00" + b"\x20\x00" + b"{'descr': print(1)}".ljust(32), "damaged or truncated NumPy file"),
    ],
)
def test_numpy_files_that_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "d.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_volume(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="object"):
        open_volume(tmp_path / "d.npy")


# Channels -------------------------------------------------------------------------------------------------------------


def test_gray_to_rgb_repeats_and_equal_planes_become_gray() -> None:
    result = to_channels(GRAY16[..., None], 3)
    np.testing.assert_array_equal(result, np.stack([GRAY16] * 3, -1))
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(to_channels(result, 1)[..., 0], GRAY16)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_rgb_to_gray_is_the_rounded_luma_without_overflow(dtype: Any, top: int) -> None:
    colours = np.array([[[top, top, top - 1], [top, 0, 0], [0, top, 0], [0, 0, top], [0, 0, 0]]], dtype)
    gray = to_channels(colours, 1)
    assert gray.dtype == dtype
    np.testing.assert_array_equal(gray[..., 0], np.rint(colours.astype(float) @ [0.299, 0.587, 0.114]))
    floats = RNG.random((4, 5, 3), dtype=np.float32)
    np.testing.assert_allclose(to_channels(floats, 1)[..., 0], floats @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_constant_alpha_is_dropped_and_varying_alpha_refused() -> None:
    np.testing.assert_array_equal(to_channels(RGBA, 3), RGBA[..., :3])
    assert to_channels(RGBA, 1).shape == (12, 20, 1)
    assert to_channels(RGBA[..., 2:], 3).shape == (12, 20, 3)
    varying = np.dstack([RGB, GRAY])
    with pytest.raises(DataError, match=r"x\.png: 4 channels found, 3 wanted.*alpha"):
        to_channels(varying, 3, "x.png")
    np.testing.assert_array_equal(to_channels(varying, 4), varying)


@pytest.mark.parametrize(("found", "wanted"), [(3, 4), (1, 4), (5, 3), (3, 2), (2, 4), (1, 2)])
def test_other_channels_are_refused(found: int, wanted: int) -> None:
    with pytest.raises(DataError, match=f"x.png: {found} channels found, {wanted} wanted"):
        to_channels(np.zeros((2, 2, found), np.uint8), wanted, "x.png")


def test_dtype_range() -> None:
    assert [dtype_range(name) for name in ("uint8", np.uint16, ">u2", "float32")] == [255.0, 65535.0, 65535.0, 1.0]
    with pytest.raises(DataError, match="int64"):
        dtype_range(np.int64)


@pytest.mark.shared_data
def test_real_images_are_read() -> None:
    folder = SHARED / "focus" / "images"
    if not folder.is_dir():
        pytest.skip(f"the real images are not here ({folder})")
    paths = sorted(folder.glob("*.png"))
    assert len(paths) == 303
    for path in paths[::6]:
        image, head = read_image(path), open_volume(path)
        assert (head.height, head.width, head.channels) == image.shape
        assert image.shape[2] == 1
        assert image.dtype == (np.uint8 if path.name.startswith("sephace") else np.uint16)
        np.testing.assert_array_equal(image[..., 0], imagecodecs.imread(path))
