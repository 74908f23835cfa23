"""Single images: every depth and colour kind, what becomes of their values, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from tests.io.written import FLOAT, RGB, RGBA, RNG, STACK, raw_png
from visionlab.errors import DataError
from visionlab.io import dtype_range, open_volume, read_image, to_channels

GRAY, GRAY16 = RGB[..., 0].copy(), STACK[0]


def as_tiff(image: np.ndarray, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, image, **{"photometric": "minisblack", **options})
    return data.getvalue()


def as_npy(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, image)
    return data.getvalue()


def pillow(image: Any, form: str, **options: Any) -> bytes:
    data = io.BytesIO()
    (image if isinstance(image, Pillow.Image) else Pillow.fromarray(image)).save(data, form, **options)
    return data.getvalue()


def npy_header(shape: tuple[int, ...], descr: str = "<f4", body: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + body


def few_bits(values: np.ndarray, bits: int) -> bytes:
    rows = b""
    for row in values:
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    return raw_png(values.shape[1], values.shape[0], rows, bits)


BITS = {bits: RNG.integers(0, 2**bits, (4, 9)) for bits in (1, 2, 4)}
PALETTE = Pillow.fromarray(RGB).quantize(7)
ALPHA = np.stack([GRAY, np.where(GRAY[0, 0] == GRAY, 0, 255).astype(np.uint8)], axis=-1)
HALF = (GRAY16 // 2).astype(np.int16)
WIDE: list[tuple[np.ndarray, np.ndarray]] = [
    (GRAY16.astype(np.int32), GRAY16),
    (GRAY16.astype(np.uint64), GRAY16),
    (HALF, HALF.astype(np.uint16)),
    ((GRAY // 2).astype(np.int8), GRAY // 2),
    (FLOAT.astype(np.float64), FLOAT),
    (FLOAT.astype(np.float16), FLOAT.astype(np.float16).astype(np.float32)),
    (GRAY > 99, np.where(GRAY > 99, 255, 0).astype(np.uint8)),
]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        *(
            (few_bits(values, bits), (values * (255 // (2**bits - 1))).astype(np.uint8))
            for bits, values in BITS.items()
        ),
        (pillow(PALETTE, "png"), np.array(PALETTE.convert("RGB"))),
        (pillow(GRAY, "png", transparency=int(GRAY[0, 0])), ALPHA),
        *((pillow(image, "jpeg"), np.array(Pillow.open(io.BytesIO(pillow(image, "jpeg"))))) for image in (GRAY, RGB)),
        *((as_tiff(stored), expected) for stored, expected in WIDE),
        *((as_npy(stored), expected) for stored, expected in WIDE),
    ],
)
def test_every_kind_is_converted_where_no_value_changes(tmp_path: Path, content: bytes, expected: np.ndarray) -> None:
    (tmp_path / "a").write_bytes(content)
    image, head = read_image(tmp_path / "a"), open_volume(tmp_path / "a")
    np.testing.assert_array_equal(image, expected.reshape(*expected.shape[:2], -1))
    assert image.dtype.name == expected.dtype.name == head.dtype
    assert (head.height, head.width, head.channels) == image.shape


def with_pixel(image: np.ndarray, value: float) -> np.ndarray:
    image = image.copy()
    image[3, 4] = value
    return image


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *(
            (as_tiff(np.array([values], dtype)), f"{dtype}.*uint8, uint16 or float32")
            for values, dtype in (
                ([0, -1], "int16"),
                ([0, 65536], "int32"),
                ([0.1, 0.2], "float64"),
                ([1j], "complex64"),
            )
        ),
        (as_tiff(with_pixel(FLOAT, np.nan)), "1 values are NaN and 0 infinite, of 240"),
        (as_tiff(with_pixel(FLOAT, np.inf).astype(np.float64)), "0 values are NaN and 1 infinite"),
        (as_tiff(GRAY, photometric="miniswhite"), "white as 0"),
        (as_tiff(GRAY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)), "PALETTE"),
        (pillow(Pillow.new("CMYK", (8, 8)), "jpeg"), "CMYK"),
        (pillow(GRAY, "png", save_all=True, append_images=[Pillow.fromarray(RGB[..., 1])]), "animation"),
        (npy_header((10**6, 10**6)), "at most"),
        (npy_header((0, 5)), "0 x 5 pixels"),
        (npy_header((4, 5), body=bytes(79)), "truncated NumPy file: expected 208 bytes, found 207"),
        (npy_header((4, 5), body=bytes(81)), "something behind its array"),
        (npy_header((4, 5, 3), body=bytes(240)), r"shape \(4, 5, 3\)"),
        (npy_header((4, 5), "|O", bytes(160)), "object"),
        (b"\x93NUMPY\x01\x00" + b"\x20\x00" + b"{'descr': print(1)}".ljust(32), "damaged or truncated NumPy file"),
    ],
)
def test_what_would_change_or_is_no_image_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=f"a: .*{words}"):
        read_image(tmp_path / "a")


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


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_gray_and_rgb_become_each_other(dtype: Any, top: int) -> None:
    gray = GRAY16.astype(dtype)
    colours = to_channels(gray[..., None], 3)
    np.testing.assert_array_equal(colours, np.stack([gray] * 3, -1))
    np.testing.assert_array_equal(to_channels(colours, 1)[..., 0], gray)
    colours = np.array([[[top, top, top - 1], [top, 0, 0], [0, top, 0], [0, 0, top], [0, 0, 0]]], dtype)
    luma = to_channels(colours, 1)
    assert luma.dtype == dtype
    np.testing.assert_array_equal(luma[..., 0], np.rint(colours.astype(float) @ [0.299, 0.587, 0.114]))


def test_constant_alpha_is_dropped_and_varying_alpha_refused() -> None:
    np.testing.assert_array_equal(to_channels(RGBA, 3), RGBA[..., :3])
    assert to_channels(RGBA[..., 2:], 3).shape == (12, 20, 3)
    varying = np.dstack([RGB, GRAY])
    with pytest.raises(DataError, match=r"x\.png: 4 channels found, 3 wanted.*alpha"):
        to_channels(varying, 3, "x.png")


@pytest.mark.parametrize(("found", "wanted"), [(3, 4), (1, 4), (5, 3), (3, 2), (2, 4), (1, 2)])
def test_other_channels_are_refused(found: int, wanted: int) -> None:
    with pytest.raises(DataError, match=f"x.png: {found} channels found, {wanted} wanted"):
        to_channels(np.zeros((2, 2, found), np.uint8), wanted, "x.png")


def test_dtype_range() -> None:
    assert [dtype_range(name) for name in ("uint8", np.uint16, ">u2", "float32")] == [255.0, 65535.0, 65535.0, 1.0]
