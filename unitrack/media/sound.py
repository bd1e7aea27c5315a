"""Encode samples as WAV."""

from __future__ import annotations

import io
import math
import sys
import wave
from array import array
from typing import Any

from unitrack.media.foreign import as_numpy, is_array
from unitrack.model import number

__all__ = ["samples_wav", "sniff"]

_MOST_CHANNELS = 64
_SIGNATURES = ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"))


def sniff(data: bytes) -> str | None:
    """Return the format of encoded sound by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def samples_wav(samples: Any, sample_rate: Any) -> tuple[bytes, dict[str, Any]]:
    """Encode (frames,) or (frames, channels), int16, int32, or floats in [-1, 1], as linear PCM.

    Floats beyond the range are clipped and NaN is silence; the metadata says so. Raises
    TypeError or ValueError for anything else.
    """
    rate = number(sample_rate, what="sample_rate") if sample_rate is not None else 0
    if isinstance(rate, bool) or not 1 <= rate <= 2**32 - 1 or rate != int(rate):
        raise ValueError(f"samples need sample_rate=, a whole number of hertz, not {sample_rate!r:.40}")
    frames, channels, size, metadata = _from_array(samples) if is_array(samples) else _from_sequence(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, size, int(rate), 0, "NONE", "not compressed"))
        file.writeframes(frames)
    seconds = len(frames) / (channels * size * rate)
    return buffer.getvalue(), {"sample_rate": int(rate), "channels": channels, "seconds": seconds, **metadata}


def _from_array(samples: Any) -> tuple[bytes, int, int, dict[str, Any]]:
    numpy: Any = sys.modules.get("numpy")
    values = as_numpy(samples, what="audio")
    channels = values.shape[1] if values.ndim == 2 else 1
    if values.ndim not in (1, 2) or not 1 <= channels <= _MOST_CHANNELS:
        raise ValueError(f"audio has the shape (frames,) or (frames, channels), not {values.shape}: try .T")
    if values.dtype.name in ("int16", "int32"):
        return values.astype(f"<i{values.dtype.itemsize}").tobytes(), channels, values.dtype.itemsize, {}
    if values.dtype.kind != "f":
        raise TypeError(f"audio samples are int16, int32, or floats in [-1, 1], not {values.dtype}")
    finite = numpy.nan_to_num(values.astype("float64"), nan=0.0, posinf=1.0, neginf=-1.0)
    metadata = {"clipped": True} if bool((numpy.abs(values) <= 1).all()) is False else {}
    return numpy.rint(numpy.clip(finite, -1, 1) * 32767).astype("<i2").tobytes(), channels, 2, metadata


def _from_sequence(samples: Any) -> tuple[bytes, int, int, dict[str, Any]]:
    if isinstance(samples, (str, bytes)) or not hasattr(samples, "__iter__"):
        raise TypeError(
            f"audio is a path, bytes with format=, or samples with sample_rate=, not {type(samples).__name__}"
        )
    values = [float(number(value, what="an audio sample")) for value in samples]
    metadata = {} if all(abs(value) <= 1 for value in values) else {"clipped": True}
    whole = array("h", (0 if math.isnan(value) else round(max(-1.0, min(1.0, value)) * 32767) for value in values))
    if sys.byteorder == "big":
        whole.byteswap()
    return whole.tobytes(), 1, 2, metadata
