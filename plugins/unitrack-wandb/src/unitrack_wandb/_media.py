"""Media as W&B's own types spell them in a row. Pure.

The files go into `media/<folder>/` of the run's files, named after key, step and digest as W&B's client
names them, so that the same picture at the same step is the same file.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from typing import Any

import msgspec

from unitrack import events

__all__ = ["MOST_BINS", "Shown", "histogram", "merged_bins", "show", "unframed"]

MOST_BINS = 512
_BAD = re.compile(r"[^\w./=-]")
_IMAGES = frozenset({"png", "jpg", "jpeg", "gif", "bmp", "webp", "tiff"})
_FRAME = "<!DOCTYPE html><meta charset='utf-8'><pre style='white-space:pre-wrap'>"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The value in the row, and the file it names: an object (`digest`) or bytes made here (`data`)."""

    value: dict[str, Any]
    path: str
    data: bytes | None = None
    digest: str | None = None


def show(event: events.Media, content: bytes | None, *, key: str) -> Shown:
    """Return what W&B shows for `event`, a histogram excepted. `content` is what stands inline, as bytes."""
    kind, folder, ending = _kind(event)
    data = content
    if event.kind == "text" and content is not None:
        data = (_FRAME + html.escape(content.decode()) + "</pre>").encode()
    sha = hashlib.sha256(data).hexdigest() if data is not None else (event.digest or "").removeprefix("sha256:")
    size = len(data) if data is not None else event.size
    path = f"media/{folder}/{_safe(key)}_{_safe(_step(event.step))}_{sha[:20]}.{ending}"
    value: dict[str, Any] = {"_type": kind, "path": path, "sha256": sha, "size": size}
    value |= _details(event, kind, content)
    return Shown(value=value, path=path, data=data, digest=None if data is not None else event.digest)


def _kind(event: events.Media) -> tuple[str, str, str]:
    """Return W&B's type, its folder, and the file's ending."""
    form = event.format
    if event.kind in ("image", "figure"):
        if form in _IMAGES:
            return "image-file", "images", form
        if form.endswith("plotly.json"):
            return "plotly-file", "plotly", "plotly.json"
        return ("html-file", "html", "html") if form in ("svg", "html") else ("file", "file", form)
    if event.kind == "table":
        return ("table-file", "table", "table.json") if form == "json" else ("file", "file", form)
    if event.kind == "text":
        return "html-file", "html", "html"
    return {
        "html": ("html-file", "html", "html"),
        "audio": ("audio-file", "audio", form),
        "video": ("video-file", "videos", form),
    }.get(event.kind, ("file", "file", form))


def _details(event: events.Media, kind: str, content: bytes | None) -> dict[str, Any]:
    details: dict[str, Any] = {}
    if kind == "image-file":
        details["format"] = event.format
        details |= {name: event.metadata[name] for name in ("width", "height") if name in event.metadata}
    if kind == "table-file":
        details |= _shape(event, content)
    if event.caption is not None and kind in ("image-file", "audio-file", "video-file"):
        details["caption"] = event.caption
    return details


def _shape(event: events.Media, content: bytes | None) -> dict[str, Any]:
    if content is not None:
        table = json.loads(content)
        return {"ncols": len(table["columns"]), "nrows": len(table["data"])}
    return {"ncols": event.metadata.get("columns"), "nrows": event.metadata.get("rows")}


def histogram(inline: dict[str, Any]) -> dict[str, Any]:
    """Return W&B's histogram of at most 512 bins."""
    return {"_type": "histogram", "bins": inline["edges"], "values": inline["counts"]}


def merged_bins(inline: dict[str, Any]) -> dict[str, Any]:
    """Return the histogram with neighbouring bins made one, until there are no more than W&B takes."""
    edges, counts = inline["edges"], inline["counts"]
    width = -(-len(counts) // MOST_BINS)
    starts = range(0, len(counts), width)
    merged = [sum(counts[start : start + width]) for start in starts]
    return {**inline, "edges": [*(edges[start] for start in starts), edges[-1]], "counts": merged}


def _step(step: events.Step | None) -> str:
    return "none" if step is None else f"{int(step)}" if step == int(step) else f"{step}"


def _safe(text: str) -> str:
    """Return a name for a file; no path leads out, and W&B's globs see plain characters."""
    parts = [_BAD.sub("-", part).strip(".") or "_" for part in text.split("/")]
    return "/".join(part[:100] for part in parts)[-180:].lstrip("/")


def unframed(page: str) -> str:
    """Return the text that `show` put into a page."""
    return html.unescape(page.removeprefix(_FRAME).removesuffix("</pre>"))
