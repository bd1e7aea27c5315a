"""Names W&B takes. Pure.

W&B takes nearly any name of a metric; what it and this backend write themselves is kept apart. Each
`clean_...` is the `clean` of a `unitrack.lowering.NameMap`: a name that fits comes back as it is.
"""

from __future__ import annotations

import re

__all__ = [
    "LONGEST_ARTIFACT",
    "LONGEST_METRIC",
    "LONGEST_TAG",
    "clean_alias",
    "clean_artifact",
    "clean_metric",
    "clean_param",
    "clean_project",
    "clean_tag",
    "from_run_key",
    "to_entry",
    "to_run_key",
]

LONGEST_METRIC = 1000
LONGEST_ARTIFACT = 128
LONGEST_TAG = 64
_OWN = ("_step", "_timestamp", "_runtime", "_wandb", "unitrack/", "system/")
_CONFIG = ("_wandb", "wandb_version", "unitrack")
_RESERVED_ARTIFACTS = ("run-", "source-", "job-", "wandb-")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_ARTIFACT = re.compile(r"[^A-Za-z0-9._-]")
_NOT_IN_PROJECT = re.compile(r"[/\\:#?%\x00-\x1f\x7f]")
_DRIVE = re.compile(r"^(.):")
_NOT_IN_RUN = re.compile(r"[:;,#?/'%]")
_ESCAPED = re.compile(r"%([0-9A-F]{2})")


def clean_metric(name: str, room: int) -> str:
    """Return the key in a row: none of W&B's own, none of this backend's, none empty."""
    text = _UNPRINTABLE.sub("_", name) or "unnamed"
    return (f"user/{text}" if text.startswith(_OWN) else text)[:room]


def clean_param(name: str, room: int) -> str:
    """Return the first word of a key in the config."""
    text = name or "_"
    return (f"user/{text}" if text in _CONFIG else text)[:room]


def clean_artifact(name: str, room: int) -> str:
    """Return the name of an artifact's collection, or of a type of artifacts."""
    text = _NOT_IN_ARTIFACT.sub("-", name).strip(" .") or "_"
    return (f"user-{text}" if text.startswith(_RESERVED_ARTIFACTS) or text in {"job", "code"} else text)[:room]


def clean_alias(name: str, room: int) -> str:
    """Return an alias; `latest` and `v1` are W&B's own."""
    text = _NOT_IN_PROJECT.sub("-", name) or "_"
    return (f"user-{text}" if re.fullmatch(r"v\d+", text) else text)[:room]


def clean_tag(name: str, room: int) -> str:
    """Return a tag of 1 to 64 characters."""
    return (name or "_")[:room]


def clean_project(name: str, room: int) -> str:
    """Return the name of a project."""
    return (_NOT_IN_PROJECT.sub("-", name) or "_")[:room]


def to_entry(path: str) -> str:
    """Return the path of a file in an artifact; one that looks like a drive of Windows is refused."""
    return _DRIVE.sub(r"\1-", path)


def to_run_key(run_id: str) -> str:
    """Return W&B's id of a run: what it refuses is escaped as in a URL."""
    return _NOT_IN_RUN.sub(lambda found: f"%{ord(found.group()):02X}", run_id)


def from_run_key(key: str) -> str:
    """Undo `to_run_key`."""
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), key)
