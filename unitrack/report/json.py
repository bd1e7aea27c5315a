"""The verdict as the JSON it is kept in."""

from __future__ import annotations

from unitrack.gate.verdict import encode as render

__all__ = ["render"]
