"""One image file or array to one square of bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from pruning_core.engine.data.source import Raw

# Only these decoders are tried: others start programs (EPS) or are rarely looked after.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa")
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485

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
    """The bytes are no image that can be used; the message says why."""


def render(raw: Raw, size: int) -> np.ndarray:
    """An image as uint8 (size, size, 3): short side to `size`, then the centre is cut out.

    An image that has this size keeps its bytes; grey becomes three equal channels. Raises
    `UnreadableImage`.
    """
    try:
        image = _open(raw, size)
        return np.asarray(_centre(_short_side(image, size), size).convert("RGB"))
    except UnreadableImage:
        raise
    except _BROKEN as error:
        raise UnreadableImage(str(error) or type(error).__name__) from None


def _open(raw: Raw, size: int) -> Image.Image:
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    _check_pixels(*image.size)
    if image.mode not in EIGHT_BIT_MODES:
        raise UnreadableImage(f"mode {image.mode}, more than 8 bits a channel; save it with 8")
    # A JPEG of more than four times the size is decoded smaller, as Pillow's thumbnail does.
    image.draft(None, (2 * size, 2 * size))
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,} pixels"
        )


def _short_side(image: Image.Image, size: int) -> Image.Image:
    short = min(image.size)
    if short == size:
        return image
    width, height = (side * size // short for side in image.size)
    _check_pixels(width, height)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _centre(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
