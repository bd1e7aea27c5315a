"""How a step talks to GitHub's runner: outputs, the job summary, annotations, masks.

All of it is text in which a stranger's text could pass for a command, so everything is escaped or fenced here.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Annotation", "annotate", "command", "harmless", "outputs_text", "quoted", "write_outputs", "write_summary"]

Level = Literal["notice", "warning", "failure"]

_COMMANDS = {"notice": "notice", "warning": "warning", "failure": "error"}
_LIVE = re.compile(r"(?m)^(\s*):(?=:)|##(?=\[)")
_MOST = 10  # of each level in one step; the runner drops the rest in silence
_SUMMARY_BYTES = 1 << 20  # of one step; a longer one is refused whole


class Annotation(msgspec.Struct, frozen=True, kw_only=True):
    """A remark on a line of a file, from 1; `path` is relative to the repository."""

    level: Level
    path: str
    line: int
    title: str
    message: str


def command(name: str, data: str, **properties: str) -> str:
    """Return a workflow command with its data and properties escaped."""
    escaped = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{name}{' ' + escaped if escaped else ''}::{_data(data)}"


def annotate(annotations: Sequence[Annotation]) -> list[str]:
    """Return the commands that show annotations, ten of each level, the worst first."""
    lines = []
    for level in ("failure", "warning", "notice"):
        chosen = [one for one in annotations if one.level == level]
        left = len(chosen) - _MOST
        for at, one in enumerate(chosen[:_MOST]):
            more = f" ({left} more are in the report)" if left > 0 and at == _MOST - 1 else ""
            text = harmless(one.message) + more
            lines.append(command(_COMMANDS[level], text, file=one.path, line=str(one.line), title=one.title))
    return lines


def harmless(text: str) -> str:
    """Return text for the log in which nothing is taken for a command.

    `::` starts one at the start of a line; `##[`, the older form, anywhere.
    """
    return _LIVE.sub(lambda found: f"{found[1]}\\x3a" if found[1] is not None else "\\x23#", text)


def quoted(text: str) -> str:
    """Return text for the log in which no line is taken for a command."""
    token = secrets.token_hex(16)
    return f"::stop-commands::{token}\n{text}\n::{token}::"


def outputs_text(outputs: Mapping[str, str]) -> str:
    """Return outputs in the runner's file format, each value behind a delimiter nobody could guess."""
    parts = []
    for name, value in outputs.items():
        delimiter = f"unitrack-{secrets.token_hex(16)}"
        parts.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    return "".join(parts)


def write_outputs(path: str, outputs: Mapping[str, str]) -> None:
    """Append outputs to the runner's file."""
    _append(path, outputs_text(outputs))


def write_summary(path: str, text: str) -> None:
    """Append to the step's summary what fits into it; of a longer text, the whole lines that do."""
    room = _SUMMARY_BYTES - _size(path) - 1
    data = text.encode()
    if len(data) > room:
        cut = data[: max(room, 0)].rpartition(b"\n")[0]
        text = cut.decode(errors="ignore")
    _append(path, text + "\n")


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).exists() else 0


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
