"""Decodes one image file or array to a square uint8 image."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features

from pruning_core.methods.datasets import CENTER_CROP, IMAGE_FORMATS, RESIZE_METHODS

# Pillow can be built without these.
OPTIONAL = {"WEBP": "webp", "JPEG2000": "jpg_2000", "AVIF": "avif"}
FORMATS = tuple(
    kind for kind in IMAGE_FORMATS if kind not in OPTIONAL or features.check(OPTIONAL[kind])
)
IMAGE_SUFFIXES = tuple(suffix for kind in FORMATS for suffix in IMAGE_FORMATS[kind])

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa")
# Pillow uses mode `I` for 16-bit PGM, and for signed or 32-bit TIFF.
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
HIGHEST_VALUE = np.iinfo(np.uint16).max
# No image whose sides differ more is decoded.
LONGEST = 10_000
# The size for which the check of an image decodes it: a small one is the fastest.
CHECK_SIZE = 28
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_OFFSET = 24  # of the bits per channel in the header of a PNG
DEEP_SIGNATURES = (b"II*\0", b"MM\0*", b"P5", b"P6")  # TIFF in either byte order, PGM, PPM
SIXTEEN_BITS = {"16L": "16B", "16B": "16L"}  # byte orders in Pillow's names of raw modes

# Why a file is no image that can be read, by the place and the bytes that tell its format.
FOREIGN = (
    (4, b"ftyphei", "it is an HEIC image, whatever its ending; save it as JPEG or PNG"),
    (4, b"ftypmif1", "it is an HEIC image, whatever its ending; save it as JPEG or PNG"),
    (0, b"<", "it is a web page, XML or SVG and no image; download the image again"),
    (0, b"version https://git-lfs", "it is a pointer of Git LFS; fetch it with `git lfs pull`"),
    (0, b"%PDF", "it is a PDF; save it as JPEG or PNG"),
    (0, b"8BPS", "it is a Photoshop file; save it as JPEG or PNG"),
    (0, b"PK", "it is a zip; unpack it"),
)
OTHER_TIFF = (
    "it is a TIFF with another number of channels or another type of values; save it with 1 or 3 "
    "channels of 8 or 16 bits"
)
# Formats whose further frames are previews or depth maps of the first.
PREVIEWS = ("MPO",)

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

# What Pillow's decoders raise on broken files, failed assertions and missing attributes included.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

# The values of 16-bit images that become 0 and 255; None keeps the upper 8 bits.
ValueRange = tuple[int, int] | None


class UnreadableImage(ValueError):
    """The image cannot be decoded. The message is the reason."""


# A file whose bytes cannot be read, such as one in a damaged zip, is the reason itself.
RawImage = bytes | np.ndarray | UnreadableImage


@dataclass(frozen=True)
class ImageFacts:
    """What the header of a file says: its size in pixels, and whether a channel has 16 bits.

    `frames` is true where there are further pages or frames, which are not read. The size is
    (0, 0) where the header cannot be read; decoding reports the file.
    """

    width: int = 0
    height: int = 0
    sixteen_bits: bool = False
    frames: bool = False

    @property
    def square(self) -> bool:
        return self.width == self.height


def decode_image(
    raw: RawImage, size: int, resize: str = CENTER_CROP, value_range: ValueRange = None
) -> np.ndarray:
    """An image as uint8 (size, size, 3), fitted to the square by a method of `RESIZE_METHODS`.

    An image of this size keeps its bytes. Gray becomes three equal channels, transparency becomes
    white, and the EXIF orientation is applied first. Of 16 bits the `value_range` becomes 0 to
    255, and values outside are clipped. Raises `UnreadableImage`.
    """
    with _unreadable_if_broken(raw):
        image = _open(raw, size, value_range, enlarged=resize == CENTER_CROP)
        return np.asarray(RESIZE_METHODS.load(resize)(image, size).convert("RGB"))


def check_image(raw: RawImage) -> None:
    """Decode an image as `decode_image` does, but for the resize. Raises `UnreadableImage`."""
    with _unreadable_if_broken(raw):
        _open(raw, CHECK_SIZE, None, enlarged=True)


@contextmanager
def _unreadable_if_broken(raw: RawImage) -> Iterator[None]:
    """Turn what Pillow raises on a broken image into `UnreadableImage`."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage(_foreign(raw if isinstance(raw, bytes) else b"")) from None
    except _BROKEN as error:
        raise UnreadableImage(str(error) or "its content is damaged") from None


def image_facts(raw: bytes) -> ImageFacts:
    """What the header of a file says; nothing is decoded."""
    if raw.startswith(PNG_SIGNATURE) and len(raw) > PNG_DEPTH_OFFSET:
        width, height = struct.unpack(">II", raw[16:PNG_DEPTH_OFFSET])
        animated = 0 < raw.find(b"acTL") < raw.find(b"IDAT")
        return ImageFacts(width, height, raw[PNG_DEPTH_OFFSET] == 16, animated)
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        deep = image.mode in DEEP_MODES
        if not deep and raw.startswith(DEEP_SIGNATURES):
            bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample, (8,))
            deep = max(bits) > 8 or _maximum(image) > np.iinfo(np.uint8).max
    except _BROKEN:
        return ImageFacts()
    return ImageFacts(*image.size, deep, _has_frames(image))


def _has_frames(image: Image.Image) -> bool:
    """Whether an image has further pages or frames that are images of their own."""
    try:
        return image.format not in PREVIEWS and bool(getattr(image, "is_animated", False))
    except _BROKEN:
        return False  # the second frame is damaged, and is not read


def _foreign(raw: bytes) -> str:
    """Why a file cannot be read as an image."""
    if not raw:
        return "the file is empty"
    if raw.startswith(DEEP_SIGNATURES[:2]):
        return OTHER_TIFF
    start = raw[:64].lower()
    known = (text for place, mark, text in FOREIGN if start[place:].startswith(mark.lower()))
    return next(known, "its format is not recognized")


def value_counts(raw: bytes) -> np.ndarray | None:
    """How often a 16-bit image has each value, int64 (65,536,); None where it has others, or
    cannot be decoded.
    """
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
        if max(image.size) > LONGEST * min(image.size):
            return None
        _check_pixels(*image.size)
        values = _values(raw, image)[0]
        if values.min() < 0 or values.max() > HIGHEST_VALUE:
            return None
        return np.bincount(values.ravel(), minlength=HIGHEST_VALUE + 1)
    except (UnreadableImage, *_BROKEN):
        return None  # decoding reports the file


def crop(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side, and cut off the rest of the longer side at both ends."""
    image = image.resize(_scaled(image.size, size, min), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def letterbox(image: Image.Image, size: int) -> Image.Image:
    """Resize the longer side, and add black bars to the shorter side."""
    image = image.resize(_scaled(image.size, size, max), Image.Resampling.BILINEAR)
    square = Image.new(image.mode, (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def squash(image: Image.Image, size: int) -> Image.Image:
    """Resize both sides; the proportions change."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _scaled(sides: tuple[int, int], size: int, reference: Callable[..., int]) -> tuple[int, int]:
    """The sides when the shorter (`min`) or longer one (`max`) becomes `size`."""
    width, height = (max(1, side * size // reference(sides)) for side in sides)
    return width, height


def _open(raw: RawImage, size: int, value_range: ValueRange, enlarged: bool) -> Image.Image:
    """An image with 8 bits per channel; where it is `enlarged`, its short side becomes `size`."""
    if isinstance(raw, UnreadableImage):
        raise raw
    if isinstance(raw, np.ndarray):
        return Image.fromarray(raw)
    image: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    _check_pixels(*image.size)
    if max(image.size) > LONGEST * min(image.size):
        sides = f"{image.width:,} x {image.height:,} pixels"
        raise UnreadableImage(f"{sides}: one side is more than {LONGEST:,} times the other")
    if enlarged:  # a very long image would become too large
        _check_pixels(*_scaled(image.size, size, min))
    if image.mode not in EIGHT_BIT_MODES + DEEP_MODES:
        raise UnreadableImage(f"mode {image.mode}, not 8 or 16 bits per channel; save it with 8")
    # A JPEG of more than four times the size is decoded at a lower resolution, which is faster.
    image.draft(None, (2 * size, 2 * size))
    transposition = TRANSPOSITIONS.get(_orientation(image))
    image = _opaque(_eight_bits(raw, image, value_range))
    return image if transposition is None else image.transpose(transposition)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation. `exif_transpose` would also rewrite, and fail on, other entries."""
    image.load()  # applies the orientation of a TIFF, and reads the last chunks of a PNG
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        return 1  # no readable EXIF: the image is upright as stored


def _eight_bits(raw: bytes, image: Image.Image, value_range: ValueRange) -> Image.Image:
    """The image with 8 bits per channel; without a range the upper 8 of 16 bits."""
    sixteen_bits = image.mode in DEEP_MODES
    if not sixteen_bits and (value_range is None or not image_facts(raw).sixteen_bits):
        return image  # Pillow keeps the upper 8 bits of a 16-bit color
    values, alpha = _values(raw, image)
    if values.min() < 0 or values.max() > HIGHEST_VALUE:
        raise UnreadableImage("its values are outside 0 to 65,535; save it with 8 or 16 bits")
    if value_range is None:
        return Image.fromarray((values >> 8).astype(np.uint8))
    low, high = value_range
    scaled = np.rint((np.clip(values, low, high) - low) * (255 / max(high - low, 1)))
    eight = Image.fromarray(scaled.astype(np.uint8))
    if alpha is not None:
        eight = eight.convert("RGB")
        eight.putalpha(Image.fromarray(alpha))
    return eight


def _values(raw: bytes, image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """The 16-bit values of an image, (H, W) or (H, W, 3), and its alpha, uint8 (H, W), or None.

    Pillow decodes 16-bit colors to their upper 8 bits. Decoded in the other byte order, the lower
    8 bits stand in their place. Where that is not possible the lower bits are those of the upper.
    """
    if image.mode in DEEP_MODES:
        return np.asarray(image).astype(np.int64), None
    swapped: Image.Image = Image.open(io.BytesIO(raw), formats=FORMATS)
    tiles = _swapped_tiles(swapped)
    color = image.convert("RGBA" if image.has_transparency_data else "RGB")
    upper = np.asarray(color)
    lower = upper
    if tiles and image.mode == color.mode:
        swapped.tile = tiles  # type: ignore[attr-defined]
        lower = np.asarray(swapped)
    alpha = upper[..., 3] if upper.shape[2] == 4 else None
    return upper[..., :3].astype(np.int64) << 8 | lower[..., :3], alpha


def _swapped_tiles(image: Image.Image) -> list[ImageFile._Tile] | None:
    """The parts of a file with 16-bit colors, to be read in the other byte order."""
    tiles = []
    for tile in getattr(image, "tile", ()):
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        mode, order = str(arguments[0])[:-3], str(arguments[0])[-3:]
        if order not in SIXTEEN_BITS or mode not in ("RGB;", "RGBA;", "RGBX;"):
            return None
        swapped = (mode + SIXTEEN_BITS[order], *arguments[1:])
        tiles.append(tile._replace(args=swapped if isinstance(tile.args, tuple) else swapped[0]))
    return tiles or None


def _maximum(image: Image.Image) -> int:
    """The highest possible value that the header of a PPM states; 0 for other files."""
    arguments = (
        next((tile.args for tile in getattr(image, "tile", ())), ())
        if image.format == "PPM"
        else ()
    )
    return int(arguments[1]) if isinstance(arguments, tuple) and len(arguments) > 1 else 0


def _opaque(image: Image.Image) -> Image.Image:
    """The image as L or RGB, on a white background where it is transparent."""
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def largest_crop(facts: ImageFacts) -> int:
    """The largest size to which a center crop can bring an image.

    The short side of a very long image cannot become large: the long one would be enlarged, too.
    """
    sides = facts.width, facts.height
    return math.isqrt(MAX_PIXELS * min(sides) // max(sides)) if min(sides) else MAX_PIXELS


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,} pixels"
        )
