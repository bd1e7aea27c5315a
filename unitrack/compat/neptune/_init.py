"""How a Neptune run begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from unitrack.compat._support import Warned, begin, given, refuse
from unitrack.compat.neptune._run import Run

__all__ = ["init_run"]

_MODES = {"async": None, "sync": None, "offline": "offline", "debug": "disabled"}
_warned = Warned()


def init_run(
    with_id: str | None = None,
    *,
    project: str | None = None,
    api_token: str | None = None,
    custom_run_id: str | None = None,
    mode: str | None = None,
    name: str | None = None,
    description: str | None = None,
    tags: str | Iterable[str] | None = None,
    source_files: Any = None,
    capture_stdout: bool | None = None,
    capture_stderr: bool | None = None,
    run: str | None = None,
    **ignored: Any,
) -> Run:
    """Begin a run, or continue the one of `with_id` or `custom_run_id`; no token is needed or looked at."""
    mode = mode or os.environ.get("NEPTUNE_MODE") or "async"
    if mode not in _MODES:
        raise refuse(f"neptune.init_run(mode={mode!r})", "read runs back with unitrack.get_run(id)")
    _warned.ignored("neptune.init_run", ignored)
    continued = with_id or run
    console = False if capture_stdout is False and capture_stderr is False else None
    begun = begin(
        id=continued or custom_run_id or os.environ.get("NEPTUNE_CUSTOM_RUN_ID"),
        resume="must" if continued else None,
        **given(
            project=project or os.environ.get("NEPTUNE_PROJECT"), name=name, mode=_MODES[mode], console=console,
            tags=None if tags is None else [tags] if isinstance(tags, str) else list(tags),
        ),
    )  # fmt: skip
    if description:
        begun.set_tags(description=description)
    made = Run(begun)
    if source_files:
        made["source_code/files"].upload_files(source_files)
    return made
