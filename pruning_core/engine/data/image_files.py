"""Decodes one image file or array to a square uint8 image."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pruning_core.engine.data.dataset import RawImage

# Only these decoders are tried. Others start programs (EPS) or are rarely maintained.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa")
# Pillow uses mode `I` for 16-bit PGM, and for signed or 32-bit TIFF.
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_OFFSET = 24  # of the bits per channel in the header of a PNG
DEEP_SIGNATURES = (b"II*\0", b"MM\0*", b"P5")  # TIFF in either byte order, PGM

# The transposition for each EXIF orientation; 1 is upright.
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's decoders raise on broken files.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class UnreadableImage(ValueError):
    """The image cannot be decoded. The message is the reason."""


def decode_image(raw: RawImage, size: int) -> np.ndarray:
    """An image as uint8 (size, size, 3): the shorter side is resized to `size`, then center crop.

    An image of this size keeps its bytes. Gray becomes three equal channels, transparency becomes
    white, 16 bits become the upper 8, and the EXIF orientation is applied first. Raises
    `UnreadableImage`.
    """
    try:
        image = _open(raw, size)
        return np.asarray(_center_crop(_resize_shorter_side(image, size), size).convert("RGB"))
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("its format is not recognized") from None
    except _BROKEN as error:
        raise UnreadableImage(str(error) or type(error).__name__) from None


def has_16_bits(raw: bytes) -> bool:
    """Whether a file has more than 8 bits per channel, by its header; False if it is damaged."""
    if raw.startswith(PNG_SIGNATURE):
        return raw[PNG_DEPTH_OFFSET : PNG_DEPTH_OFFSET + 1] == b"\x10"
    if not raw.startswith(DEEP_SIGNATURES):
        return False
    try:
        image = Image.open(io.BytesIO(raw), formats=("TIFF", "PPM"))
    except _BROKEN:
        return False  # decoding reports the file
    bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (8,))
    return image.mode in DEEP_MODES or max(bits) > 8


def _open(raw: RawImage, size: int) -> Image.Image:
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    _check_pixels(*image.size)
    if image.mode not in EIGHT_BIT_MODES + DEEP_MODES:
        raise UnreadableImage(f"mode {image.mode}, not 8 or 16 bits per channel; save it with 8")
    # A JPEG of more than four times the size is decoded at a lower resolution, which is faster.
    image.draft(None, (2 * size, 2 * size))
    image.load()  # applies the orientation of a TIFF, and reads the last chunks of a PNG
    transposition = TRANSPOSITIONS.get(_orientation(image))
    image = _opaque(_eight_bits(image))
    return image if transposition is None else image.transpose(transposition)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. `exif_transpose` would also rewrite, and fail on, other entries."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        return 1  # no readable EXIF: the image is upright as stored


def _eight_bits(image: Image.Image) -> Image.Image:
    """The upper 8 of 16 bits, as Pillow itself does for 16-bit color."""
    if image.mode not in DEEP_MODES:
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise UnreadableImage("its values are outside 0 to 65,535; save it with 8 or 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """The image as L or RGB, on a white background where it is transparent."""
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,} pixels"
        )


def _resize_shorter_side(image: Image.Image, size: int) -> Image.Image:
    shorter = min(image.size)
    if shorter == size:
        return image
    width, height = (side * size // shorter for side in image.size)
    _check_pixels(width, height)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _center_crop(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
