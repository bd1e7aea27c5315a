"""The environment variables with which a process finds what the action installs, and not all that the tests need."""

from __future__ import annotations

from pathlib import Path

__all__ = ["AS_ACTION"]

AS_ACTION = {"PYTHONPATH": str(Path(__file__).parent / "as_installed")}
