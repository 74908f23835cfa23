"""Reading images: every kind exactly, every broken file refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from visionlab.errors import DataError
from visionlab.io.images import dtype_range, header, read, to_channels

RNG = np.random.default_rng(0)
GRAY8 = RNG.integers(0, 256, (20, 12), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (20, 12), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (20, 12, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (20, 12, 3), dtype=np.uint16)
LA8 = RNG.integers(0, 256, (20, 12, 2), dtype=np.uint8)
RGBA8 = RNG.integers(0, 256, (20, 12, 4), dtype=np.uint8)
FLOAT = RNG.random((20, 12), dtype=np.float32)


def png(path: Path, image: np.ndarray) -> Path:
    path.write_bytes(imagecodecs.png_encode(image))
    return path


def tiff(path: Path, image: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, image, **options)
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def check(path: Path, expected: np.ndarray) -> None:
    """The pixels are exact and the header agrees with them."""
    image, head = read(path), header(path)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert image.dtype == expected.dtype
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, expected)
    assert (head.height, head.width, head.channels) == image.shape
    assert head.dtype == image.dtype.name
    assert head.pages == 1


@pytest.mark.parametrize(
    "image", [GRAY8, GRAY16, RGB8, RGB16, LA8, RGBA8], ids=lambda image: f"{image.dtype}x{image.ndim}"
)
def test_png_is_exact_at_every_depth(tmp_path: Path, image: np.ndarray) -> None:
    check(png(tmp_path / "a.png", image), image)


def test_png_16_bit_with_alpha(tmp_path: Path) -> None:
    image = RNG.integers(0, 65536, (5, 4, 4), dtype=np.uint16)
    check(png(tmp_path / "a.png", image), image)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits_is_scaled_to_8(tmp_path: Path, bits: int) -> None:
    values = RNG.integers(0, 2**bits, (4, 9))
    rows = b""
    for row in values:
        text = "".join(format(value, f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    (tmp_path / "a.png").write_bytes(raw_png(9, 4, bits, 0, rows))
    check(tmp_path / "a.png", (values * (255 // (2**bits - 1))).astype(np.uint8))


def test_png_palette_becomes_rgb(tmp_path: Path) -> None:
    palette = Pillow.fromarray(RGB8).quantize(7)
    palette.save(tmp_path / "a.png")
    check(tmp_path / "a.png", np.array(palette.convert("RGB")))


def test_png_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    Pillow.fromarray(GRAY8).save(tmp_path / "a.png", transparency=int(GRAY8[0, 0]))
    alpha = np.where(GRAY8[0, 0] == GRAY8, 0, 255).astype(np.uint8)
    check(tmp_path / "a.png", np.stack([GRAY8, alpha], axis=-1))


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (GRAY8, {}),
        (GRAY16, {}),
        (FLOAT, {}),
        (GRAY16, {"compression": "lzw"}),
        (GRAY16, {"compression": "lzw", "predictor": True, "rowsperstrip": 3}),
        (FLOAT, {"compression": "zlib", "predictor": True}),
        (GRAY16, {"compression": "zlib", "tile": (16, 16)}),
        (GRAY16, {"byteorder": ">"}),
        (FLOAT, {"byteorder": ">", "bigtiff": True}),
        (GRAY16, {"ome": True}),
        (GRAY16, {"imagej": True}),
        (RGB8, {"photometric": "rgb"}),
        (RGB16, {"photometric": "rgb", "compression": "zlib"}),
        (RGBA8, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (GRAY16[..., None], {}),
    ],
)
def test_tiff_is_exact(tmp_path: Path, image: np.ndarray, options: dict[str, Any]) -> None:
    check(tiff(tmp_path / "a.tif", image, **options), image)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16), "compression": "zlib"}])
def test_tiff_with_separate_planes(tmp_path: Path, options: dict[str, Any]) -> None:
    planes = np.moveaxis(RGB8, -1, 0).copy()
    check(tiff(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", **options), RGB8)


def test_tiff_with_five_channels(tmp_path: Path) -> None:
    image = RNG.integers(0, 9, (6, 7, 5), dtype=np.uint8)
    check(tiff(tmp_path / "a.tif", image, photometric="minisblack", planarconfig="contig"), image)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (GRAY16.astype(np.int32), GRAY16),
        (GRAY16.astype(np.uint32), GRAY16),
        ((GRAY16 // 2).astype(np.int16), GRAY16 // 2),
        ((GRAY8 // 2).astype(np.int8), GRAY8 // 2),
        (FLOAT.astype(np.float64), FLOAT),
        (FLOAT.astype(np.float16), FLOAT.astype(np.float16).astype(np.float32)),
    ],
    ids=lambda value: str(value.dtype),
)
def test_tiff_is_converted_where_every_value_fits(tmp_path: Path, stored: np.ndarray, expected: np.ndarray) -> None:
    path = tiff(tmp_path / "a.tif", stored)
    check(path, expected)
    assert header(path).stored == stored.dtype.name


def test_tiff_of_one_bit_becomes_0_and_255(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY8 > 99, photometric="minisblack")
    check(path, np.where(GRAY8 > 99, 255, 0).astype(np.uint8))


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
def test_tiff_whose_values_would_change_is_refused(tmp_path: Path, stored: np.ndarray) -> None:
    path = tiff(tmp_path / "a.tif", stored)
    with pytest.raises(DataError, match=rf"a\.tif: .*{stored.dtype}.*uint8, uint16 or float32"):
        read(path)


def test_tiff_with_white_as_zero_or_a_palette_is_refused(tmp_path: Path) -> None:
    white = tiff(tmp_path / "white.tif", GRAY8, photometric="miniswhite")
    palette = tiff(tmp_path / "palette.tif", GRAY8, photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    with pytest.raises(DataError, match="white as 0"):
        read(white)
    with pytest.raises(DataError, match="PALETTE"):
        read(palette)


def test_tiff_with_jpeg_inside_comes_as_rgb(tmp_path: Path) -> None:
    smooth = np.empty((32, 32, 3), np.uint8)
    smooth[...] = (200, 40, 90)
    data = io.BytesIO()
    Pillow.fromarray(smooth).save(data, "tiff", compression="jpeg")
    (tmp_path / "a.tif").write_bytes(data.getvalue())
    image = read(tmp_path / "a.tif")
    assert np.abs(image.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("options", [{}, {"ome": True}, {"imagej": True}, {"compression": "lzw"}])
def test_tiff_with_pages_says_how_many(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tiff(tmp_path / "a.tif", np.stack([GRAY16] * 5), photometric="minisblack", **options)
    assert header(path).pages == 5
    with pytest.raises(DataError, match=r"a\.tif: holds 5 pages .* one image a file"):
        read(path)


def test_tiff_stack_behind_a_single_page_is_seen(tmp_path: Path) -> None:
    """ImageJ writes large stacks that way."""
    path = tiff(tmp_path / "a.tif", GRAY16, description="ImageJ=1.53t\nimages=7\nslices=7\n", metadata=None)
    with pytest.raises(DataError, match="holds 7 pages"):
        read(path)


def test_tiff_volume_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16))
    with pytest.raises(DataError, match="holds 16 pages"):
        read(path)


def test_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(GRAY8), Pillow.fromarray(255 - GRAY8)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert header(tmp_path / "a.png").pages == 2
    with pytest.raises(DataError, match="holds 2 pages"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("image", [GRAY8, RGB8], ids=["gray", "rgb"])
def test_jpeg(tmp_path: Path, image: np.ndarray) -> None:
    Pillow.fromarray(image).save(tmp_path / "a.jpg")
    check(tmp_path / "a.jpg", np.array(Pillow.open(tmp_path / "a.jpg")))


def test_jpeg_is_turned_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(RGB8).save(tmp_path / "a.jpg", exif=exif, quality=100)
    upright = np.rot90(np.array(Pillow.open(tmp_path / "a.jpg")), -1)
    check(tmp_path / "a.jpg", upright)


def test_jpeg_in_cmyk_is_refused(tmp_path: Path) -> None:
    Pillow.new("CMYK", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match="CMYK"):
        read(tmp_path / "a.jpg")


def test_content_counts_not_suffix(tmp_path: Path) -> None:
    check(png(tmp_path / "a.tif", GRAY16), GRAY16)
    check(tiff(tmp_path / "b.png", GRAY16, compression="lzw").rename(tmp_path / "b.PNG"), GRAY16)


def files(folder: Path) -> dict[str, bytes]:
    """Sound files of every kind."""
    big = RNG.integers(0, 65536, (40, 40), dtype=np.uint16)
    small = np.clip(big // 256, 0, 255).astype(np.uint8)
    Pillow.fromarray(small).save(folder / "jpeg", format="jpeg")
    sources = {"png": png(folder / "png", big), "jpeg": folder / "jpeg"}
    kinds: dict[str, dict[str, Any]] = {
        "raw": {},
        "lzw": {"compression": "lzw", "rowsperstrip": 8},
        "zlib": {"compression": "zlib"},
        "packbits": {"compression": "packbits"},
        "tile": {"tile": (16, 16), "compression": "zlib"},
    }
    sources |= {name: tiff(folder / name, big, **options) for name, options in kinds.items()}
    return {name: path.read_bytes() for name, path in sources.items()}


@pytest.mark.parametrize("kind", ["png", "jpeg", "raw", "lzw", "zlib", "packbits", "tile"])
def test_truncated_files_are_refused_wherever_they_end(tmp_path: Path, kind: str) -> None:
    data = files(tmp_path)[kind]
    path = tmp_path / "cut.bin"
    path.write_bytes(data)
    assert read(path).shape == (40, 40, 1)
    cuts = {*range(9, 60, 7), *(int(len(data) * part) for part in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99))}
    for cut in sorted(cuts | {len(data) - back for back in (1, 3, 12, 13, 30)}):
        path.write_bytes(data[:cut])
        with pytest.raises(DataError, match=r"cut\.bin: .*(truncated|damaged)"):
            read(path)


def test_every_flipped_byte_of_a_png_is_refused_or_harmless(tmp_path: Path) -> None:
    data = imagecodecs.png_encode(GRAY16)
    path = tmp_path / "a.png"
    for position in range(8, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            image = read(path)
        except DataError:
            continue
        np.testing.assert_array_equal(image[..., 0], GRAY16)


def test_random_damage_of_a_tiff_never_escapes_as_another_error(tmp_path: Path) -> None:
    data = tiff(tmp_path / "a.tif", GRAY16, compression="lzw", rowsperstrip=4).read_bytes()
    path = tmp_path / "b.tif"
    for position in range(4, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        for call in (header, read):
            try:
                call(path)
            except DataError as error:
                assert "b.tif" in str(error)


def test_missing_strip_is_not_filled_with_zeros(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY16, compression="zlib", rowsperstrip=5)
    with tifffile.TiffFile(path) as tif:
        tag = tif.pages.first.tags["StripByteCounts"]
        position, step = tag.valueoffset, {3: 2, 4: 4}[int(tag.dtype)]
    data = bytearray(path.read_bytes())
    data[position + step : position + 2 * step] = bytes(step)
    path.write_bytes(data)
    with pytest.raises(DataError, match="1 of its 4 strips or tiles are missing"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"this is a note\n", "found text"),
        (b"BM\x00\x01\x02\x03", "other content"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"II*\0", "damaged or truncated"),
        (b"\xff\xd8\xff", "damaged or truncated"),
    ],
)
@pytest.mark.parametrize("call", [read, header])
def test_what_is_no_image_is_named(tmp_path: Path, call: Any, content: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.png: .*{message}"):
        call(tmp_path / "a.png")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: .*No such file"):
        read(tmp_path / "none.png")
    with pytest.raises(DataError, match="found a folder"):
        read(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (2**31 - 1, 1), (8193, 8192)])
@pytest.mark.parametrize("call", [read, header])
def test_png_bomb_is_refused_before_decoding(tmp_path: Path, call: Any, width: int, height: int) -> None:
    (tmp_path / "a.png").write_bytes(raw_png(width, height, 8, 0, b""))
    with pytest.raises(DataError, match=rf"claims {height} x {width} pixels"):
        call(tmp_path / "a.png")


def test_png_without_width_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(raw_png(0, 5, 8, 0, b""))
    with pytest.raises(DataError, match="5 x 0 pixels"):
        read(tmp_path / "a.png")


def test_tiff_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY16, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["ImageWidth"].overwrite(60_000)
        tif.pages.first.tags["ImageLength"].overwrite(60_000)
    for call in (header, read):
        with pytest.raises(DataError, match="claims 60000 x 60000 pixels"):
            call(path)


def test_tiff_with_huge_tiles_is_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", GRAY16, compression="zlib", tile=(16, 16))
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["TileWidth"].overwrite(60_000)
        tif.pages.first.tags["TileLength"].overwrite(60_000)
    with pytest.raises(DataError, match="tiles are"):
        read(path)


def test_jpeg_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.fromarray(GRAY8).save(tmp_path / "a.jpg")
    monkeypatch.setattr("visionlab.io.formats.MAX_PIXELS", 200)
    with pytest.raises(DataError, match="claims 20 x 12 pixels"):
        read(tmp_path / "a.jpg")


def test_nan_and_infinity_are_refused(tmp_path: Path) -> None:
    image = FLOAT.copy()
    image[3, 4] = np.nan
    image[5, :2] = np.inf
    for dtype in (np.float32, np.float64):
        path = tiff(tmp_path / "a.tif", image.astype(dtype))
        with pytest.raises(DataError, match=r"a\.tif: 1 values are NaN and 2 infinite, of 240"):
            read(path)


def test_images_are_writable_and_contiguous(tmp_path: Path) -> None:
    Pillow.fromarray(RGB8).save(tmp_path / "a.jpg")
    planes = np.moveaxis(RGB8, -1, 0).copy()
    for path in (
        png(tmp_path / "a.png", RGB8),
        tiff(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate"),
        tmp_path / "a.jpg",
    ):
        image = read(path)
        assert image.flags.c_contiguous
        assert image.flags.writeable


def test_gray_to_rgb_repeats() -> None:
    result = to_channels(GRAY16[..., None], 3)
    assert result.dtype == np.uint16
    for i in range(3):
        np.testing.assert_array_equal(result[..., i], GRAY16)


def test_equal_planes_to_gray_is_exact() -> None:
    np.testing.assert_array_equal(to_channels(np.stack([GRAY16] * 3, -1), 1)[..., 0], GRAY16)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_rgb_to_gray_is_the_rounded_luma_without_overflow(dtype: Any, top: int) -> None:
    colours = np.array([[[top, top, top - 1], [top, 0, 0], [0, top, 0], [0, 0, top], [0, 0, 0]]], dtype)
    gray = to_channels(colours, 1)
    expected = np.rint(colours.astype(float) @ [0.299, 0.587, 0.114])
    assert gray.dtype == dtype
    np.testing.assert_array_equal(gray[..., 0], expected)


def test_rgb_to_gray_of_float_is_not_rounded() -> None:
    colours = RNG.random((4, 5, 3), dtype=np.float32)
    gray = to_channels(colours, 1)
    assert gray.dtype == np.float32
    np.testing.assert_allclose(gray[..., 0], colours @ [0.299, 0.587, 0.114], rtol=1e-5)


def test_constant_alpha_is_dropped_and_varying_alpha_refused() -> None:
    opaque = RGBA8.copy()
    opaque[..., 3] = 255
    np.testing.assert_array_equal(to_channels(opaque, 3), opaque[..., :3])
    assert to_channels(opaque, 1).shape == (20, 12, 1)
    assert to_channels(opaque[..., 2:], 3).shape == (20, 12, 3)
    with pytest.raises(DataError, match=r"x\.png: 4 channels found, 3 wanted.*alpha"):
        to_channels(RGBA8, 3, "x.png")
    np.testing.assert_array_equal(to_channels(RGBA8, 4), RGBA8)


@pytest.mark.parametrize(("found", "wanted"), [(3, 4), (1, 4), (5, 3), (3, 2), (2, 4), (1, 2)])
def test_other_channels_are_refused(found: int, wanted: int) -> None:
    with pytest.raises(DataError, match=f"x.png: {found} channels found, {wanted} wanted"):
        to_channels(np.zeros((2, 2, found), np.uint8), wanted, "x.png")


def test_dtype_range() -> None:
    assert [dtype_range(name) for name in ("uint8", np.uint16, np.dtype("float32"))] == [255.0, 65535.0, 1.0]
    with pytest.raises(DataError, match="int64"):
        dtype_range(np.int64)


@pytest.mark.shared_data
def test_real_images_are_read() -> None:
    folder = Path(__file__).parents[2] / "shared" / "data" / "focus" / "images"
    if not folder.is_dir():
        pytest.skip(f"the real images are not here ({folder})")
    paths = sorted(folder.glob("*.png"))
    assert len(paths) == 303
    for path in paths:
        image, head = read(path), header(path)
        assert (head.height, head.width, head.channels) == image.shape
        assert image.shape[2] == 1
        assert image.dtype == (np.uint8 if path.name.startswith("sephace") else np.uint16)
        assert image.max() > image.min()
