"""Image files that need more than resizing: 16 bits, orientation, transparency; damaged files."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from pruning_core.engine.data.image_files import (
    IMAGE_SUFFIXES,
    UnreadableImage,
    decode_image,
    image_facts,
    value_counts,
)
from pruning_core.methods.datasets import IMAGE_FORMATS, RESIZE_METHODS

GRAYS = np.random.default_rng(0).integers(0, 65536, (32, 32), dtype=np.uint16)
FORMATS = [("PNG", {}), ("JPEG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
# EXIF whose one entry, the orientation, is the text "abc".
TEXT_ENTRY = b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"
DEEP = [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<i4"), ("PPM", "<u2")]


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def colored(width: int = 32, height: int = 32) -> Image.Image:
    """The same pixels on all machines, without random numbers."""
    values = np.arange(width * height * 3, dtype=np.uint32) * 2654435761 >> 24
    return Image.fromarray(values.astype(np.uint8).reshape(height, width, 3))


@pytest.mark.parametrize(("kind", "dtype"), DEEP)
def test_16_bit_grays_become_their_upper_8_bits(kind: str, dtype: str) -> None:
    raw = encoded(Image.fromarray(GRAYS.astype(dtype)), kind)
    assert image_facts(raw).sixteen_bits
    assert (decode_image(raw, 32) == (GRAYS >> 8)[:, :, None]).all()


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_of_more_than_16_bits_are_refused(value: int) -> None:
    with pytest.raises(UnreadableImage, match="outside 0 to 65,535"):
        decode_image(encoded(Image.fromarray(np.full((32, 32), value, np.int32)), "TIFF"), 32)


def test_floating_point_images_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="mode F, not 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(np.zeros((32, 32), np.float32)), "TIFF"), 32)


@pytest.mark.parametrize("raw", [b"", b"P5", b"II*\0", encoded(colored(), "TIFF")])
def test_only_16_bit_images_are_detected(raw: bytes) -> None:
    assert not image_facts(raw).sixteen_bits
    assert not image_facts(encoded(colored())).sixteen_bits


def chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG."""
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def raw_png(width: int, height: int, bits: int, color: int, pixels: bytes) -> bytes:
    """A PNG with this header, whatever its pixels are."""
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("resize", RESIZE_METHODS)
@pytest.mark.parametrize(
    "raw",
    [
        raw_png(8, 8, 8, 3, bytes(9 * 8)),  # a palette is announced, and there is none
        raw_png(89_478_485, 1, 8, 2, bytes(100)),
        raw_png(1, 89_478_485, 8, 2, bytes(100)),
        raw_png(60_000, 60_000, 8, 2, bytes(100)),
        raw_png(0, 8, 8, 2, b""),
        raw_png(8, 8, 8, 9, bytes(100)),
        raw_png(8, 8, 16, 0, bytes(3)),
    ],
)
def test_a_header_that_lies_is_a_sentence(raw: bytes, resize: str) -> None:
    """Nor does it fill the memory: images whose short side would be enlarged are not loaded."""
    image_facts(raw)
    value_counts(raw)
    with pytest.raises(UnreadableImage) as caught:
        decode_image(raw, 32, resize)
    assert str(caught.value)


def test_a_long_image_that_fits_is_read_where_its_short_side_is_not_enlarged() -> None:
    raw = raw_png(3, 30_000, 8, 2, bytes(10 * 30_000))
    for resize in ("letterbox", "squash"):
        assert decode_image(raw, 32, resize).shape == (32, 32, 3)
    with pytest.raises(UnreadableImage):
        decode_image(raw, 640, "crop")


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colors_use_their_range(channels: int) -> None:
    """Pillow keeps their upper 8 bits, of which 12 bits in 16 use 16 values."""
    values = np.random.default_rng(0).integers(0, 4096, (32, 32, channels), dtype=np.uint16)
    values[..., 3:] = 65_535
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    raw = raw_png(32, 32, 16, 2 if channels == 3 else 6, rows)
    counts = value_counts(raw)
    assert counts is not None
    assert (counts == np.bincount(values[..., :3].ravel(), minlength=65_536)).all()
    expected = np.rint(values[..., :3] * (255 / 4095)).astype(np.uint8)
    assert (decode_image(raw, 32, value_range=(0, 4095)) == expected).all()
    assert (decode_image(raw, 32) == values[..., :3] >> 8).all()


def test_every_kind_with_its_endings_is_decoded() -> None:
    assert {".jpe", ".jfif", ".avif"} <= set(IMAGE_SUFFIXES)
    for kind in IMAGE_FORMATS:
        options = {"irreversible": False} if kind == "JPEG2000" else {}
        decoded = decode_image(encoded(colored(), kind, **options), 32)
        assert decoded.shape == (32, 32, 3), kind


@pytest.mark.parametrize(("kind", "options"), FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied(kind: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    raw = encoded(colored(20, 40), kind, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    left, top = (upright.width - 20) // 2, (upright.height - 20) // 2
    expected = np.asarray(upright)[top : top + 20, left : left + 20]
    assert (decode_image(raw, 20) == expected).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"", b"no exif", b"II*\0\xff\xff\xff\xff", TEXT_ENTRY])
def test_a_damaged_orientation_leaves_the_image_as_it_is(exif: bytes) -> None:
    plain = decode_image(encoded(colored(), "JPEG"), 32)
    assert (decode_image(encoded(colored(), "JPEG", exif=b"Exif\0\0" + exif), 32) == plain).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_white(mode: str) -> None:
    image = colored().convert(mode)
    alpha = np.repeat(np.array([0, 128, 255, 255], np.uint8), 8)[:, None].repeat(32, 1)
    image.putalpha(Image.fromarray(alpha))
    decoded = decode_image(encoded(image), 32).astype(float)
    solid = np.asarray(colored().convert(mode[:-1]).convert("RGB")).astype(float)
    share = alpha[:, :, None] / 255
    assert np.abs(decoded - (share * solid + (1 - share) * 255)).max() <= 1
    assert (decoded[:8] == 255).all()
    assert (decoded[16:] == solid[16:]).all()


@pytest.mark.parametrize(("mode", "kind"), [("P", "PNG"), ("P", "GIF"), ("L", "PNG")])
def test_a_transparent_color_is_white(mode: str, kind: str) -> None:
    image = Image.new(mode, (32, 32), 3)
    if mode == "P":
        image.putpalette([0, 0, 0] * 256)
    assert (decode_image(encoded(image, kind, transparency=3), 32) == 255).all()
    assert (decode_image(encoded(image, kind, transparency=4), 32) < 4).all()


def test_images_of_8_bits_keep_their_bytes() -> None:
    """A change here changes results: raise the version of the stage kind `dataset` with it."""
    digest = hashlib.sha256()
    for mode in ("1", "L", "P", "RGB"):
        for kind in ("PNG", "BMP", "TIFF"):
            decoded = decode_image(encoded(colored(40, 32).convert(mode), kind), 32)
            digest.update(decoded.tobytes())
    assert digest.hexdigest()[:16] == "bb8034b45fde2034"


OTHERS = {
    "the file is empty": b"",
    "an HEIC image": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "a web page": b"<!doctype html>",
    "number of channels": b"II*\0\x08\0\0\0\0\0",
}


@pytest.mark.parametrize("reason", OTHERS)
def test_the_kind_of_a_file_that_is_no_image_is_told(reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode_image(OTHERS[reason], 32)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_further_frames_are_detected(kind: str) -> None:
    """The second picture of an MPO of a camera is a preview of the first."""
    first, second = colored(), colored().rotate(90)
    assert not image_facts(encoded(first, "JPEG" if kind == "MPO" else kind)).frames
    several = encoded(first, kind, save_all=True, append_images=[second])
    assert image_facts(several).frames == (kind != "MPO")


@pytest.mark.parametrize("raw", [b"no image", b"\xff\xd8\xff broken"])
def test_the_message_for_other_files_shows_no_memory_address(raw: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode_image(raw, 32)
    assert str(caught.value) == "its format is not recognized"
