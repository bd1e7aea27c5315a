"""Log experiments once, see them in any tracker."""

from importlib import import_module
from typing import TYPE_CHECKING

from unitrack.errors import UnitrackError, UnitrackWarning
from unitrack.fluent import (
    alert,
    define_metric,
    end_run,
    finish,
    flush,
    log,
    log_artifact,
    log_audio,
    log_dataset,
    log_figure,
    log_file,
    log_histogram,
    log_html,
    log_image,
    log_metric,
    log_metrics,
    log_model,
    log_param,
    log_params,
    log_predictions,
    log_table,
    log_text,
    log_video,
    remove_tags,
    set_tags,
    start_run,
    use_artifact,
    use_model,
)
from unitrack.media import Audio, Figure, File, Histogram, Html, Image, Table, Text, Video
from unitrack.run import Run
from unitrack.session import current, init

__all__ = [
    "Audio", "Figure", "File", "Histogram", "Html", "Image", "Run", "RunView", "Table", "Text", "UnitrackError",
    "UnitrackWarning", "Video", "alert", "current", "define_metric", "end_run", "finish", "flush", "get_run",
    "hookimpl", "init", "log", "log_artifact", "log_audio", "log_dataset", "log_figure", "log_file",
    "log_histogram", "log_html", "log_image", "log_metric", "log_metrics", "log_model", "log_param",
    "log_params", "log_predictions", "log_table", "log_text", "log_video", "remove_tags", "runs", "set_tags",
    "start_run", "use_artifact", "use_model",
]  # fmt: skip


if TYPE_CHECKING:
    from unitrack.hookspecs import hookimpl
    from unitrack.reader import RunView, get_run, runs


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("unitrack")
    # Imported when asked for: training needs none of it, and it would add a third to `import unitrack`.
    late = {"RunView": "reader", "get_run": "reader", "runs": "reader", "hookimpl": "hookspecs"}
    if name in late:
        return getattr(import_module(f"unitrack.{late[name]}"), name)
    raise AttributeError(f"module 'unitrack' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
