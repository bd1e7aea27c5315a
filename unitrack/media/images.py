"""Encode pictures as PNG, without Pillow where the pixels are at hand."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from typing import Any

from unitrack.media.foreign import as_numpy

__all__ = ["array_png", "matplotlib_png", "pil_png", "sniff"]

_COLOR_TYPES = {1: 0, 3: 2, 4: 6}  # channels to PNG's code: grey, RGB, RGBA
_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})
_NEAREST = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA", "F": "L", "I": "I;16"}  # all others: RGB
_COMPRESSION = 3  # training waits for it: half the time of the usual 6 for some percent more bytes
_OVERSHOOT = 0.1  # a model's output may leave [0, 1] by a little; pictures in [0, 255] or [-1, 1] are a mistake
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
)


def sniff(data: bytes) -> str | None:
    """Return the format of an encoded picture by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def pil_png(image: Any) -> tuple[bytes, dict[str, Any]]:
    """Encode a PIL image, in the nearest mode that PNG knows."""
    width, height = image.size
    if not width or not height:
        raise ValueError(f"an image needs pixels, this one is {width} x {height}")
    if image.mode not in _PNG_MODES:
        image = image.convert(_NEAREST.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue(), {"width": width, "height": height}


def matplotlib_png(figure: Any) -> bytes:
    """Draw a matplotlib figure; it stays open."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def array_png(value: Any) -> tuple[bytes, dict[str, Any]]:
    """Encode an array (H, W) or (H, W, 1|3|4) of uint8, bool, or floats in [0, 1].

    Floats out of range by up to 0.1 are clipped and NaN is black; the metadata says so.
    Raises TypeError for other types, ValueError for other shapes and ranges.
    """
    array = as_numpy(value, what="the image")
    _check_shape(array.shape)
    pixels, metadata = _pixels(array)
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    data = _png(pixels.reshape(height, width * channels), width, channels)
    return data, {"width": width, "height": height, **metadata}


def _check_shape(shape: tuple[int, ...]) -> None:
    good = len(shape) == 2 or (len(shape) == 3 and shape[2] in _COLOR_TYPES)
    if not good:
        hint = ""
        if len(shape) == 3 and shape[0] in _COLOR_TYPES:
            hint = "; the channels come last: try .permute(1, 2, 0) or .transpose(1, 2, 0)"
        elif len(shape) == 4:
            hint = "; log the images of a batch one by one"
        raise ValueError(f"an image has the shape (H, W) or (H, W, 1|3|4), not {tuple(shape)}{hint}")
    if 0 in shape:
        raise ValueError(f"an image needs pixels, this one has the shape {tuple(shape)}")


def _pixels(array: Any) -> tuple[Any, dict[str, Any]]:
    if array.dtype.name == "uint8":
        return array, {}
    if array.dtype.kind == "b":
        return array.astype("uint8") * 255, {}
    if array.dtype.kind != "f":
        raise TypeError(f"an image's numbers are uint8, bool, or floats in [0, 1], not {array.dtype}")
    numpy: Any = sys.modules["numpy"]
    finite = numpy.isfinite(array)
    metadata: dict[str, Any] = {}
    if not finite.all():
        metadata["non_finite"] = int(array.size - finite.sum())
        array = numpy.where(finite, array, 0)
    low, high = float(array.min()), float(array.max())
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        raise ValueError(
            f"an image's floats are in [0, 1], these go from {low:g} to {high:g}: scale them, or use uint8"
        )
    if low < 0 or high > 1:
        metadata["clipped"] = [low, high]
    return (numpy.clip(array, 0, 1) * 255 + 0.5).astype("uint8"), metadata


def _png(rows: Any, width: int, channels: int) -> bytes:
    """Write PNG (ISO/IEC 15948) of rows of bytes, each stored as its difference to the row above."""
    numpy: Any = sys.modules["numpy"]
    filtered = numpy.full((rows.shape[0], rows.shape[1] + 1), 2, "uint8")  # the first byte: filter "up"
    filtered[0, 1:] = rows[0]
    numpy.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, rows.shape[0], 8, _COLOR_TYPES[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), _COMPRESSION)), (b"IEND", b""))
    return _SIGNATURES[0][0] + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
