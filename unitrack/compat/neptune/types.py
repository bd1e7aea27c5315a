"""`neptune.types`: files and pictures for fields."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

from unitrack import media
from unitrack.compat._support import refuse

__all__ = ["File", "shown"]


class File:
    """What a file's or picture's field is given: `File(path)`, or one of `as_image`, `as_html`, `from_content` ..."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        data: bytes | None = None,
        ending: str = "",
        shown: Any = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.data, self.ending, self.shown = data, ending, shown

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], extension: str | None = None) -> File:
        """Return the file at `path`."""
        return cls(path, ending=extension or "")

    @classmethod
    def from_content(cls, content: str | bytes, extension: str | None = None) -> File:
        """Return a file of this content: `txt` for text and `bin` for bytes unless it is said."""
        data = content.encode() if isinstance(content, str) else content
        return cls(data=data, ending=extension or ("txt" if isinstance(content, str) else "bin"))

    @classmethod
    def from_stream(cls, stream: Any, seek: int | None = 0, extension: str | None = None) -> File:
        """Return a file of what a stream holds."""
        if seek is not None:
            stream.seek(seek)
        return cls.from_content(stream.read(), extension)

    @classmethod
    def as_image(cls, image: Any, autoscale: bool = True) -> File:
        """Return a picture: an array, a tensor, a PIL image, a figure."""
        if hasattr(image, "detach"):
            image = image.detach().cpu().numpy()
        return cls(shown=media.Image(image))

    @classmethod
    def as_html(cls, chart: Any, include_plotlyjs: Any = None) -> File:
        """Return a page: a frame, a plotly figure, or what makes HTML of itself; matplotlib figures stay pictures."""
        if media.recognises(chart) and not hasattr(chart, "to_csv"):
            return cls(shown=chart)
        if hasattr(chart, "to_html"):
            return cls(shown=media.Html(chart.to_html()))
        raise refuse(
            f"neptune.types.File.as_html({type(chart).__name__})", "pass HTML with File.from_content(html, 'html')"
        )

    @classmethod
    def as_pickle(cls, obj: Any) -> File:
        """Return the pickle of an object."""
        return cls(data=pickle.dumps(obj), ending="pkl")

    @classmethod
    def create_from(cls, value: Any) -> File:
        """Return a value as a file by its type."""
        return cls(value) if isinstance(value, (str, os.PathLike)) else cls(shown=value)


def shown(value: Any) -> Any:
    """Return what `Run.log` shows for a value, or None if it shows nothing."""
    if isinstance(value, File):
        return value.shown
    return value if media.recognises(value) else None
