"""Encode one value: pick its kind, check it, and return bytes, a path or small JSON."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from unitrack.errors import UsageError
from unitrack.events import MediaKind
from unitrack.media.foreign import foreign_kind, is_array
from unitrack.media.tables import table_json
from unitrack.media.wrappers import Audio, Figure, File, Histogram, Html, Image, Table, Text, Video, Wrapper
from unitrack.model import text

__all__ = ["Encoded", "encode", "recognises"]

_LARGEST_INLINE = 16 << 10
_WRAPPERS: dict[MediaKind, Callable[[Any], Wrapper]] = {
    "image": Image, "figure": Figure, "table": Table, "text": Text, "html": Html, "audio": Audio, "video": Video,
    "histogram": Histogram, "file": File,
}  # fmt: skip
_KINDS: dict[type, MediaKind] = {kind: name for name, kind in _WRAPPERS.items() if isinstance(kind, type)}
_FOREIGN: dict[str, MediaKind] = {
    "pil": "image", "matplotlib": "figure", "plotly": "figure", "pandas": "table", "polars": "table",
}  # fmt: skip
_SHORTER = {"jpeg": "jpg", "htm": "html", "tif": "tiff"}


class Encoded(msgspec.Struct, frozen=True, kw_only=True):
    """A value ready to be kept: in `data`, in the file `path`, or, being small, in `inline`.

    `format` is a file name's ending such as `png`, `wav`, `json`, `plotly.json`.
    """

    kind: MediaKind
    format: str
    data: bytes | None = None
    path: Path | None = None
    inline: Any = None
    caption: str | None = None
    metadata: dict[str, Any] = {}


def recognises(value: object) -> bool:
    """Tell whether `value` says by its type how to show it: a wrapper, an image, a figure, a frame."""
    return type(value) in _KINDS or foreign_kind(value) is not None


def encode(value: Any, *, kind: MediaKind | None = None, caption: str | None = None) -> Encoded:
    """Encode `value`, taken as `kind` unless its type says one.

    Raises TypeError or ValueError that name what was given and what is accepted.
    """
    wrapped = _wrap(value, kind)
    caption = wrapped.caption if caption is None else caption
    if caption is not None and not isinstance(caption, str):
        raise TypeError(f"a caption is a str, not {type(caption).__name__}")
    name = _KINDS[type(wrapped)]
    encoded = _ENCODERS[name](wrapped)
    return msgspec.structs.replace(encoded, caption=caption)


def _wrap(value: Any, kind: MediaKind | None) -> Any:
    own = _KINDS.get(type(value))
    if own is not None:
        if kind is not None and kind != own:
            raise TypeError(f"a {type(value).__name__} can't be logged as {kind}")
        return value
    if kind is None:
        kind = "text" if isinstance(value, str) else _FOREIGN.get(foreign_kind(value) or "")
    if kind is None:
        hint = " Wrap it: unitrack.Image(...), Histogram(...), Audio(...)" if is_array(value) else ""
        raise TypeError(f"{type(value).__name__} doesn't tell how to show it.{hint}")
    if kind not in _WRAPPERS:
        raise ValueError(f"{kind!r:.40} is no kind of media: use one of {', '.join(_WRAPPERS)}")
    return _WRAPPERS[kind](value)


# -- one encoder a kind --------------------------------------------------------------------------
# Each imports what encodes: together that would add 3 ms to `import unitrack`.


def _image(image: Image) -> Encoded:
    from unitrack.media import images

    value = image.value
    if _is_path(value):
        return _file("image", value)
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
        return Encoded(kind="image", format=_known("image", images.sniff(data)), data=data)
    if foreign_kind(value) == "pil":
        data, metadata = images.pil_png(value)
    elif foreign_kind(value) == "matplotlib":
        data, metadata = images.matplotlib_png(value), {}
    elif is_array(value):
        data, metadata = images.array_png(value)
    else:
        raise TypeError(f"an image is a path, bytes, a PIL image or an array, not {type(value).__name__}")
    return Encoded(kind="image", format="png", data=data, metadata=metadata)


def _figure(figure: Figure) -> Encoded:
    from unitrack.media import images

    value = figure.value
    if _is_path(value):
        return _file("figure", value)
    if foreign_kind(value) == "matplotlib":
        return Encoded(kind="figure", format="png", data=images.matplotlib_png(value))
    if foreign_kind(value) == "plotly":
        return Encoded(kind="figure", format="plotly.json", data=value.to_json().encode())
    raise TypeError(f"a figure is a matplotlib or plotly figure or a path, not {type(value).__name__}")


def _table(table: Table) -> Encoded:
    data, metadata = table_json(table.value, table.columns, table.rows)
    return Encoded(kind="table", format="json", data=data, metadata=metadata)


def _text(shown: Text) -> Encoded:
    value = shown.value
    if isinstance(value, os.PathLike):
        return _file("text", value)
    if not isinstance(value, str):
        raise TypeError(f"text is a str or a pathlib.Path, not {type(value).__name__}")
    words = text(value)
    data = words.encode()
    if len(data) <= _LARGEST_INLINE:
        return Encoded(kind="text", format="txt", inline=words)
    return Encoded(kind="text", format="txt", data=data)


def _html(html: Html) -> Encoded:
    value = html.value
    if isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith((".html", ".htm"))):
        return _file("html", value)
    if not isinstance(value, str):
        raise TypeError(f"HTML is a str or a path, not {type(value).__name__}")
    return Encoded(kind="html", format="html", data=text(value).encode())


def _audio(audio: Audio) -> Encoded:
    from unitrack.media import sound

    value, rate = audio.value, audio.sample_rate
    if _is_path(value):
        return _file("audio", value, audio.format)
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
        return Encoded(kind="audio", format=_known("audio", audio.format or sound.sniff(data)), data=data)
    if isinstance(value, tuple) and len(value) == 2 and rate is None:
        value, rate = value
    data, metadata = sound.samples_wav(value, rate)
    return Encoded(kind="audio", format="wav", data=data, metadata=metadata)


def _video(video: Video) -> Encoded:
    value = video.value
    if _is_path(value):
        return _file("video", value, video.format)
    if isinstance(value, (bytes, bytearray)):
        return Encoded(kind="video", format=_known("video", video.format), data=bytes(value))
    raise TypeError(
        f"a video is a path or encoded bytes with format=, not {type(value).__name__}: encode it as mp4 or gif"
    )


def _histogram(histogram: Histogram) -> Encoded:
    if histogram.edges is not None and histogram.counts is not None:
        inline = {"edges": list(histogram.edges), "counts": list(histogram.counts), "nan": 0, "inf": 0}
    else:
        from unitrack.media import histograms

        inline = histograms.count(histogram.value, histogram.bins)
    return Encoded(kind="histogram", format="json", inline=inline)


def _any_file(file: File) -> Encoded:
    return _file("file", file.value)


_ENCODERS: dict[MediaKind, Callable[[Any], Encoded]] = {
    "image": _image, "figure": _figure, "table": _table, "text": _text, "html": _html, "audio": _audio,
    "video": _video, "histogram": _histogram, "file": _any_file,
}  # fmt: skip


# -- paths and formats ---------------------------------------------------------------------------


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def _file(kind: MediaKind, value: Any, form: str | None = None) -> Encoded:
    if not _is_path(value):
        raise TypeError(f"a {kind} is given by its path, not {type(value).__name__}")
    path = Path(value)
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UsageError(f"there is no {kind} at {str(path)[:200]!r}: {error}") from error
    if not regular:
        raise UsageError(f"{str(path)!r} is no file: a {kind} is given by the path of its file")
    ending = (form or path.suffix).removeprefix(".").lower()
    metadata = {"file": text(path.name)} if kind == "file" else {}
    return Encoded(kind=kind, format=text(_SHORTER.get(ending, ending)) or "bin", path=path, metadata=metadata)


def _known(kind: MediaKind, form: str | None) -> str:
    if not isinstance(form, str) or not form.strip("."):
        raise ValueError(f"the format of these bytes isn't known: give a path, or {kind.capitalize()}(..., format=...)")
    ending = form.removeprefix(".").lower()
    return _SHORTER.get(ending, ending)
