"""What MLflow holds, as what was logged: the mapping the other way round. Pure: no client, no file, no network.

Runs that unitrack sent are told by the tag `unitrack.run_id`, and what stands in tags and names is undone;
the runs of others keep all names and tags they have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from unitrack.model import plain
from unitrack_mlflow._names import to_key, to_path
from unitrack_mlflow._text import typed

__all__ = ["MediaPath", "MetricKey", "Names", "Undone", "nested", "number", "undo"]

_LARGEST = 1.7976931348623157e308
_WHOLE = re.compile(r"whole: (unitrack/(?:params|tags)/.+\.txt)\)\Z")
_MEDIA = re.compile(r"media/(?P<name>.+)/(?:step-(?P<step>-?[0-9][0-9.e+-]*)-)?(?P<mark>[0-9a-f]{8})\.(?P<format>.+)")
_RANK = re.compile(r"system/rank[0-9]+/")
# What unitrack or MLflow set on their own account; it is told elsewhere.
_MLFLOWS = re.compile(r"mlflow\.(runName|parentRunId|source\.(name|type|git\.(commit|branch|repoURL)))\Z")
_NATIVE = ("mlflow.runName", "mlflow.parentRunId")

Fetch = Callable[[str], "str | None"]
"""Returns the text of an artifact by its path, None if there is none."""


class MetricKey(NamedTuple):
    """What a metric of MLflow's is: a `metric`, something about the machine (`system`) or a `summary` value."""

    kind: str
    name: str


class MediaPath(NamedTuple):
    """What the path of a media file tells."""

    name: str
    step: int | float | None
    format: str
    about: str


class Undone(msgspec.Struct, kw_only=True):
    """The params and tags of a run, sorted by what they stand for. All values are spelled as a journal spells them."""

    ours: str | None = None
    """The id of a run that unitrack sent."""
    project: str | None = None
    group: str | None = None
    argv: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    words: list[str] = []
    values: dict[str, str] = {}
    summary: dict[str, Any] = {}
    definitions: dict[str, dict[str, Any]] = {}
    alerts: list[tuple[str, str, str]] = []
    artifacts: dict[str, dict[str, Any]] = {}
    inputs: dict[str, dict[str, Any]] = {}
    digests: dict[str, str] = {}
    """Of datasets, whole, by their names."""


class Names:
    """The way back from MLflow's keys and paths to the run's own names, which the tags `unitrack.name.*` hold."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = tags
        self._ours = "unitrack.run_id" in tags
        self._changed = [name for key, name in tags.items() if key.startswith("unitrack.name.")]
        self._by_prefix: dict[str, dict[str, str]] = {}
        self._paths = {to_path(name).text: name for name in self._changed}

    def name(self, key: str, prefix: str = "") -> str:
        """Return the name that became `key`, of which `prefix` is no part."""
        if prefix not in self._by_prefix:
            self._by_prefix[prefix] = {to_key(name, prefix).text: name for name in self._changed}
        return self._by_prefix[prefix].get(key, key[len(prefix) :])

    def path(self, path: str) -> str:
        """Return the name that became the artifact path `path`."""
        return self._paths.get(path, path)

    def is_marked(self, what: str, name: str) -> bool:
        """Tell whether the mapping noted that a text (or metric) isn't what it reads as."""
        return to_key(name or "_", f"unitrack.text.{what}.").text in self._tags

    def metric(self, key: str) -> MetricKey:
        """Return what a metric of MLflow's is."""
        name = self.name(key)
        if not self._ours or self.is_marked("metric", name):
            return MetricKey("metric", name)
        if key.startswith("summary/"):
            return MetricKey("summary", self.name(key, "summary/"))
        if key.startswith("system/"):
            rank = _RANK.match(key)
            return MetricKey("system", self.name(key, rank[0] if rank else "system/"))
        return MetricKey("metric", name)

    def media(self, path: str) -> MediaPath | None:
        """Return what a path under `media/` tells, None if the mapping didn't make it."""
        found = _MEDIA.fullmatch(path)
        if found is None or not self._ours:
            return None
        step = found["step"]
        number = None if step is None else int(step) if step.lstrip("-").isdigit() else float(step)
        about = f"{path.removesuffix(found['format'])}about.json"
        return MediaPath(self.path(found["name"]), number, found["format"], about)


def undo(params: Mapping[str, str], tags: Mapping[str, str], fetch: Fetch) -> Undone:
    """Return what the params and tags of a run stand for; `fetch` reads artifacts with what was too long."""
    names = Names(tags)
    undone = Undone(ours=tags.get("unitrack.run_id"))
    _undo_params(undone, params, tags, names, fetch)
    for key, value in tags.items():
        _undo_tag(undone, key, _whole(value, fetch), names)
    return undone


# -- params --------------------------------------------------------------------------------------


def _undo_params(
    undone: Undone, params: Mapping[str, str], tags: Mapping[str, str], names: Names, fetch: Fetch
) -> None:
    later = {names.name(key, _LATER): value for key, value in tags.items() if key.startswith(_LATER)}
    for key, value in params.items():
        name = names.name(key)
        text = _whole(later.get(key, value) if undone.ours else value, fetch)
        undone.params[name] = _param(text, is_text=names.is_marked("param", name))
    if undone.ours:
        undone.params = nested(undone.params)


_LATER = "unitrack.param."


def _param(text: str, *, is_text: bool) -> Any:
    value = text if is_text else typed(text)
    # What came out of JSON is spelled for a journal already.
    return value if isinstance(value, (list, dict)) else plain(value)


def _whole(value: str, fetch: Fetch) -> str:
    """Return the whole of a value that was too long for MLflow."""
    found = _WHOLE.search(value[-600:]) if value.endswith(".txt)") else None
    whole = fetch(found[1]) if found is not None else None
    return value if whole is None else whole


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nest what names with `/` spell, as far as no name is in the way of another."""
    tree: dict[str, Any] = {}
    taken = set(values)
    for name, value in values.items():
        parts = name.split("/")
        above = ("/".join(parts[:count]) for count in range(1, len(parts)))
        if "" in parts or any(each in taken for each in above):
            tree[name] = value
            continue
        branch = tree
        for part in parts[:-1]:
            branch = branch.setdefault(part, {})
        branch[parts[-1]] = value
    return tree


# -- tags ----------------------------------------------------------------------------------------


def _undo_tag(undone: Undone, key: str, value: str, names: Names) -> None:
    if undone.ours is None:
        if key not in _NATIVE:
            undone.values[key] = value
    elif key.startswith("unitrack."):
        _undo_own(undone, key, value, names)
    elif not _MLFLOWS.match(key):
        _undo_user_tag(undone, names.name(key), value, names)


def _undo_user_tag(undone: Undone, name: str, value: str, names: Names) -> None:
    if value == "true" and not names.is_marked("tag", name):
        undone.words.append(name)
    else:
        undone.values[name] = value


def _undo_own(undone: Undone, key: str, value: str, names: Names) -> None:
    if key == "unitrack.project":
        undone.project = value
    elif key == "unitrack.group":
        undone.group = value
    elif key == "unitrack.argv":
        undone.argv = tuple(map(str, json.loads(value)))
    elif key.startswith("unitrack.tag."):
        _undo_user_tag(undone, names.name(key, "unitrack.tag."), value, names)
    elif key.startswith("unitrack.summary."):
        name = names.name(key, "unitrack.summary.")
        undone.summary[name] = _param(value, is_text=names.is_marked("summary", name))
    elif key.startswith("unitrack.dataset."):
        undone.digests[names.name(key, "unitrack.dataset.")] = value
    elif key.startswith("unitrack.alert."):
        undone.alerts.append(_alert(value))
    else:
        _undo_json(undone, key, value, names)


def _alert(value: str) -> tuple[str, str, str]:
    level, _, rest = value.partition(": ")
    title, _, text = rest.partition(": ")
    return level, title, text


def _undo_json(undone: Undone, key: str, value: str, names: Names) -> None:
    for prefix, field in _JSON.items():
        if key.startswith(prefix):
            getattr(undone, field)[names.name(key, prefix)] = json.loads(value)


_JSON = {"unitrack.metric.": "definitions", "unitrack.artifact.": "artifacts", "unitrack.input.": "inputs"}


def number(value: float) -> float:
    """Return infinity for what MLflow makes of it."""
    return value if abs(value) < _LARGEST else value * 2
