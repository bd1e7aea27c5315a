"""Capture the script that runs, and in a notebook the cells that ran.

    {"script": "/home/mia/project/train.py", "sha256": "<hex>", "size": 1234}
    {"notebook": "study.ipynb", "cells": 12}

The text is kept as an artifact, redacted, unless it is long or belongs to an installed program.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["SourceCollector", "notebook_cells", "script_path"]

_LONGEST = 1 << 20


class SourceCollector:
    """Reads the script; the path is known to training alone, so that this collector is made for each run."""

    name = "source"

    def __init__(self, script: str | None) -> None:
        self._script = script
        self._text: bytes | None = None

    def collect(self) -> dict[str, Any]:
        """Return path and digest of the script; nothing for `python -c`, a prompt or a notebook."""
        if self._script is None:
            return {}
        try:
            text = Path(self._script).read_bytes()
        except OSError:
            return {"script": self._script}
        if len(text) <= _LONGEST and not _is_installed(self._script):
            self._text = text
        return {"script": self._script, "sha256": hashlib.sha256(text).hexdigest(), "size": len(text)}

    def attachments(self) -> dict[str, bytes]:
        """Return the script."""
        return {} if self._text is None or self._script is None else {os.path.basename(self._script): self._text}


def _is_installed(script: str) -> bool:
    path = Path(script)
    inside = any(path.is_relative_to(prefix) for prefix in {sys.prefix, sys.base_prefix} if len(Path(prefix).parts) > 2)
    return inside or bool({"site-packages", "dist-packages"} & set(path.parts))


def script_path(main: ModuleType | None) -> str | None:
    """Return the absolute path of the file that runs as `__main__`, if there is one."""
    file = getattr(main, "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) and not file.endswith("ipykernel_launcher.py") else None


def notebook_cells(modules: Mapping[str, ModuleType], environ: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
    """Return what is known of the notebook this process serves, and the cells that ran, in order, as a script.

    Read from IPython where it is loaded. Raises nothing.
    """
    try:
        shell = modules["IPython"].get_ipython()
        cells = [str(cell) for cell in shell.history_manager.input_hist_raw[1:]]
        named = environ.get("JPY_SESSION_NAME") or shell.user_ns.get("__vsc_ipynb_file__")
    except Exception:  # no IPython, no shell, or one that keeps no history
        return {}, None
    text = "\n\n".join(f"# cell {number}\n{cell}" for number, cell in enumerate(cells, 1))
    about = {"notebook": named and os.path.basename(str(named)), "cells": len(cells)}
    return {name: value for name, value in about.items() if value is not None}, text[:_LONGEST] if cells else None
