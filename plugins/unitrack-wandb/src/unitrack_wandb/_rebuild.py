"""What W&B holds of a run as events: what this backend wrote comes back as it was, all else as it is.

Where it is read from, a folder or a server, is a `Source`'s part.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from unitrack.backend import Lowering
from unitrack.events import (
    Alert,
    Artifact,
    Capture,
    DatasetUsed,
    Event,
    Media,
    MediaKind,
    Metric,
    MetricDefinition,
    Metrics,
    Params,
    Summary,
    System,
    Tags,
)  # fmt: skip
from unitrack.foreign import Counts, ForeignInfo
from unitrack.lowering import Lowerings
from unitrack.model import plain
from unitrack.objects import ObjectStore
from unitrack.objects.tree import FileEntry, Manifest
from unitrack_wandb._media import unframed
from unitrack_wandb._plan import EVENT_KEY, MEDIA_KEY, STEP_KEY

__all__ = ["Entry", "FoundArtifact", "RebuiltRun", "Source"]

_KINDS: Mapping[str, MediaKind] = {
    "image-file": "image", "plotly-file": "figure", "table-file": "table", "html-file": "html",
    "audio-file": "audio", "video-file": "video", "file": "file",
}  # fmt: skip


class Entry(NamedTuple):
    """A file of an artifact: where it is, or what it refers to."""

    path: str
    local: Path | None
    uri: str | None


class FoundArtifact(NamedTuple):
    """An artifact that the run logged."""

    name: str
    type: str
    aliases: tuple[str, ...]
    metadata: dict[str, Any]
    entries: tuple[Entry, ...]
    is_input: bool = False


class Source(Protocol):
    """One run where it is kept. `config` is W&B's, with what this backend keeps there."""

    info: ForeignInfo
    config: dict[str, Any]
    summary: dict[str, Any]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the history."""
        ...

    def artifacts(self) -> Iterator[FoundArtifact]:
        """Yield the artifacts, their files at hand."""
        ...

    def file(self, path: str) -> Path | None:
        """Return a file of the run, None if it isn't there."""
        ...

    def files(self, folder: str) -> Iterable[str]:
        """Return the paths of the run's files below a folder."""
        ...

    def definitions(self) -> Iterable[MetricDefinition]:
        """Return what the client defined of metrics."""
        ...

    def alerts(self) -> Iterable[Alert]:
        """Return what people were told."""
        ...


class RebuiltRun:
    """One run of a `Source`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lowerings = Lowerings()
        self._about: dict[str, Any] = dict(source.config.get("unitrack") or {})
        self._is_ours = "id" in self._about
        self._names: dict[str, dict[str, str]] = self._about.get("names") or {}

    @property
    def info(self) -> ForeignInfo:
        """Who it is."""
        return self._source.info

    @property
    def lowered(self) -> tuple[Lowering, ...]:
        """What an event can't hold."""
        return self._lowerings.all

    def _name(self, kind: str, key: str) -> str:
        return self._names.get(kind, {}).get(key, key)

    def events(self, objects: ObjectStore) -> Iterator[Event]:
        """Yield what the run holds."""
        self._lowerings = Lowerings()
        started = self.info.started
        if params := self._params():
            yield Params(0, started, params)
        if texts := self._about.get("tags"):
            yield Tags(seq=0, time=started, values=texts)
        yield from self._definitions()
        yield from self._facts()
        for row in self._rows():
            yield from self._row(row, objects)
        ended = self.info.ended or started
        if summary := self._summary():
            yield Summary(0, ended, summary)
        for artifact in self._source.artifacts():
            yield self._artifact(artifact, objects, ended)
        yield from self._source.alerts()

    # -- config and summary ----------------------------------------------------------------------

    def _params(self) -> dict[str, Any]:
        own = ("unitrack", "_wandb", "wandb_version")
        params = {self._name("param", key): value for key, value in self._source.config.items() if key not in own}
        return params if self._is_ours else dict(plain(params))

    def _definitions(self) -> Iterator[Event]:
        if not self._is_ours:
            yield from self._source.definitions()
        for name, told in (self._about.get("metrics") or {}).items():
            yield MetricDefinition(seq=0, time=self.info.started, name=name, **told)

    def _facts(self) -> Iterator[Event]:
        started = self.info.started
        for used in (self._about.get("datasets") or {}).values():
            yield DatasetUsed(seq=0, time=started, **used)
        for name, used in (self._about.get("inputs") or {}).items():
            fields = {key: used.get(key) for key in ("digest", "size", "uri") if used.get(key) is not None}
            yield Artifact(
                seq=0, time=started, name=name, kind=used.get("kind") or "artifact", use="input",
                tree=bool(used.get("tree")), aliases=list(used.get("aliases") or []),
                metadata=used.get("metadata") or {}, **fields,
            )  # fmt: skip
        for path in self._source.files("unitrack/captures"):
            local = self._source.file(path)
            if local is not None:
                yield Capture(seq=0, time=started, name=Path(path).stem, values=json.loads(local.read_bytes()))

    def _summary(self) -> dict[str, Any]:
        summary = self._source.summary
        if self._is_ours:
            return {self._name("metric", key): value for key, value in (self._about.get("summary") or {}).items()}
        logged = {key for row in self._source.rows() for key in row}
        kept = {key: value for key, value in summary.items() if key not in logged and key[:1] != "_"}
        return dict(plain(kept))

    # -- rows ------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Yield each row once: a server that was sent a folder twice may hold it twice."""
        seen: dict[str, bytearray] = {}
        for row in self._source.rows():
            writer, _, seq = str(row.get(EVENT_KEY, "")).rpartition(":")
            if self._is_ours and writer and seq.isdigit():
                marks, place = seen.setdefault(writer, bytearray()), int(seq)
                marks.extend(bytes(max(0, place + 1 - len(marks))))
                if marks[place]:
                    continue
                marks[place] = 1
            yield row

    def _values(self, row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """Yield what was logged in a row; W&B joins the names of what is nested by dots."""
        own = (STEP_KEY, EVENT_KEY, MEDIA_KEY) if self._is_ours else ()
        for key, value in row.items():
            if isinstance(value, dict) and "_type" not in value and key not in own and key[:1] != "_":
                yield from self._values(value, f"{prefix}{key}.")
            elif (prefix or key[:1] != "_") and key not in own:
                yield f"{prefix}{key}", value

    def _row(self, row: dict[str, Any], objects: ObjectStore) -> Iterator[Event]:
        time = float(row.get("_timestamp") or self.info.started)
        step = row.get(STEP_KEY) if self._is_ours else row.get("_step")
        shown = dict(self._values(row))
        numbers = {key: _number(value) for key, value in shown.items() if _is_number(value)}
        if self._is_ours and numbers and all(key.startswith("system/") for key in numbers):
            yield System(0, time, {key.removeprefix("system/"): value for key, value in numbers.items()})
        elif numbers:
            yield Metrics(0, time, {self._name("metric", key): value for key, value in numbers.items()}, step)
        for key, value in shown.items():
            if key not in numbers and value is not None:
                yield from self._shown(row, key, value, time, step, objects)

    def _shown(  # noqa: PLR0917 - the row, taken apart
        self, row: dict[str, Any], key: str, value: Any, time: float, step: Any, objects: ObjectStore
    ) -> Iterator[Event]:
        name = self._name("metric", key)
        kind = value.get("_type") if isinstance(value, dict) else None
        about = row.get(MEDIA_KEY) if self._is_ours else None
        if kind == "histogram":
            yield self._histogram(name, value, about or {}, time, step)
        elif kind in _KINDS and isinstance(value.get("path"), str):
            found = self._file(name, value, about, objects)
            if found is not None:
                yield Media(seq=0, time=time, name=name, step=step, **found)
        elif isinstance(value, str):
            yield Media(seq=0, time=time, name=name, kind="text", format="txt", step=step, inline=value)
        else:
            self._lowerings.tell("value", name, f"a {kind or type(value).__name__} in a row has no place in an event")

    def _histogram(self, name: str, value: Any, about: Any, time: float, step: Any) -> Media:
        edges = value.get("bins") or _unpacked(value.get("packedBins") or {})
        inline = {"edges": edges, "counts": value.get("values") or [], "nan": about.get("nan") or 0}
        inline["inf"] = about.get("inf") or 0
        return Media(
            seq=0, time=time, name=name, kind="histogram", format="json", step=step, inline=inline,
            caption=about.get("caption"), metadata=about.get("metadata") or {},
        )  # fmt: skip

    def _file(self, name: str, value: dict[str, Any], about: Any, objects: ObjectStore) -> dict[str, Any] | None:
        """Return the fields of a media event whose bytes are a file of the run."""
        local = self._source.file(value["path"])
        if local is None:
            self._lowerings.tell("media", name, f"the file {value['path']} is not there")
            return None
        told = about if isinstance(about, dict) else {}
        ending = value["path"].rpartition(".")[2]
        form = told.get("format") or {"plotly-file": "plotly.json", "table-file": "json"}.get(value["_type"], ending)
        fields = {
            "kind": told.get("kind") or _KINDS[value["_type"]], "format": form,
            "caption": told.get("caption") or value.get("caption"), "metadata": told.get("metadata") or {},
        }  # fmt: skip
        if fields["kind"] == "text" and not told.get("digest") and told:
            return {**fields, "inline": unframed(local.read_text("utf-8"))}
        stored = objects.put_file(local)
        return {**fields, "digest": stored.digest, "size": stored.size}

    # -- artifacts -------------------------------------------------------------------------------

    def _artifact(self, found: FoundArtifact, objects: ObjectStore, time: float) -> Artifact:
        metadata = dict(found.metadata)
        told = metadata.pop("unitrack", None) or {}
        aliases = told.get("aliases") if told else [alias for alias in found.aliases if alias != "latest"]
        fields = self._content(found, bool(told.get("tree")), objects)
        return Artifact(
            seq=0, time=time, name=told.get("name") or found.name, kind=told.get("kind") or found.type,
            aliases=list(aliases or []), metadata=metadata, use="input" if found.is_input else "output", **fields,
        )  # fmt: skip

    def _content(self, found: FoundArtifact, is_tree: bool, objects: ObjectStore) -> dict[str, Any]:  # noqa: FBT001
        references = [entry.uri for entry in found.entries if entry.uri]
        files = [entry for entry in found.entries if entry.local is not None]
        if references:
            if len(found.entries) > 1:
                self._lowerings.tell(
                    "artifact", found.name, f"of {len(found.entries)} entries the first reference stays"
                )
            return {"uri": references[0]}
        if len(files) < len(found.entries) or not files:
            self._lowerings.tell("artifact", found.name, "not all of its files are there")
        if len(files) == 1 and not is_tree:
            stored = objects.put_file(files[0].local or "")
            return {"digest": stored.digest, "size": stored.size}
        stored_files = [(entry.path, objects.put_file(entry.local or "")) for entry in files]
        entries = [
            FileEntry(path=path, digest=one.digest, size=one.size) for path, one in sorted(stored_files, key=_path)
        ]
        manifest = objects.put_bytes(Manifest(files=tuple(entries)).encode())
        return {"digest": manifest.digest, "size": sum(entry.size for entry in entries), "tree": True}

    # -- counts ----------------------------------------------------------------------------------

    def expected(self) -> Counts:
        """Count what the source holds, without its files."""
        points = media = 0
        for row in self._rows():
            values = dict(self._values(row))
            numbers = [key for key, value in values.items() if _is_number(value)]
            if not (self._is_ours and all(key.startswith("system/") for key in numbers)):
                points += len(numbers)
            media += sum(self._counts_as_media(value) for key, value in values.items() if key not in numbers)
        artifacts = sum(1 for _ in self._source.artifacts()) + len(self._about.get("inputs") or {})
        tags = len({*self.info.tags, *(self._about.get("tags") or {})})
        return Counts(params=_leaves(self._params()), points=points, tags=tags, artifacts=artifacts, media=media)

    def _counts_as_media(self, value: Any) -> bool:
        if isinstance(value, str):
            return True
        kind = value.get("_type") if isinstance(value, dict) else None
        return kind == "histogram" or (kind in _KINDS and self._source.file(str(value.get("path"))) is not None)


def _path(pair: tuple[str, Any]) -> str:
    return pair[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or value in ("NaN", "Infinity", "-Infinity")


def _number(value: Any) -> Metric:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value  # type: ignore[no-any-return]  # a number, or a word for one


def _leaves(tree: Mapping[str, Any]) -> int:
    return sum(_leaves(value) if isinstance(value, dict) and value else 1 for value in tree.values())


def _unpacked(packed: Mapping[str, Any]) -> list[float]:
    """Return the edges of W&B's bins of equal width."""
    low, size, count = packed.get("min", 0.0), packed.get("size", 1.0), packed.get("count", 0)
    return [low + size * index for index in range(int(count) + 1)]
