"""The artifacts of a run out of MLflow: files, folders, models, media and captures."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from unitrack.errors import UsageError
from unitrack.events import Artifact, Capture, Event, Media
from unitrack.objects import ObjectStore
from unitrack.objects.tree import TreeInfo, parse
from unitrack_mlflow._names import to_path
from unitrack_mlflow._text import implied_kind
from unitrack_mlflow._undo import MediaPath, Names, Undone

__all__ = ["RunFiles"]

_LARGEST_INLINE = 16 << 10  # of a text, as unitrack logs it
_OWN = ("unitrack", "media")
_LATER = re.compile(r"@[^@/]+-[0-9]{9}\Z")  # what a second capture of the same name has behind it


class _Piece(NamedTuple):
    """An artifact to take over: `about` is what unitrack noted of it, `model` where a logged model is."""

    name: str
    path: str
    about: Mapping[str, Any]
    model: str | None = None


class RunFiles:
    """The files of one run. `lower(kind, name, detail)` is told what can't be had."""

    def __init__(self, client: Any, run: Any, origin: str, lower: Callable[[str, str, str], None]) -> None:
        self._client, self._run, self._origin, self._lower = client, run, origin, lower
        self._id = run.info.run_id
        self._names = Names(run.data.tags)
        self._listed: dict[str, list[Any]] = {}

    def text(self, path: str) -> str | None:
        """Return the text of a file, None if it can't be had."""
        from mlflow.exceptions import MlflowException

        try:
            return self._bytes(path).decode()
        except (MlflowException, OSError, UnicodeDecodeError):
            return None

    def count(self, undone: Undone) -> tuple[int, int]:
        """Return how many artifacts, used ones included, and media there are."""
        shown = sum(1 for _ in self._media()) if undone.ours else 0
        return len(undone.inputs) + sum(1 for _ in self._pieces(undone)), shown

    def events(self, objects: ObjectStore, undone: Undone, time: float) -> Iterator[Event]:
        """Yield all there is, its bytes put into `objects`."""
        for name, about in undone.inputs.items():
            yield self._used(objects, name, about, time)
        for piece in self._pieces(undone):
            yield self._artifact(objects, piece, time)
        if undone.ours:
            for path, told in self._media():
                yield self._shown(objects, path, told, time)
            yield from self._captures(time)

    # -- what there is ---------------------------------------------------------------------------

    def _pieces(self, undone: Undone) -> Iterator[_Piece]:
        claimed = set()
        for name, about in undone.artifacts.items():
            path = to_path(name).text
            claimed.add(path)
            yield _Piece(name, path, about)
        for entry in self._list(None):
            if undone.ours and entry.path in _OWN:
                continue
            yield from self._unclaimed(entry, claimed)
        yield from self._models(claimed)

    def _unclaimed(self, entry: Any, claimed: set[str]) -> Iterator[_Piece]:
        """Yield what nobody noted: a folder as one, unless something that was noted lies in it."""
        if entry.path in claimed:
            return
        if entry.is_dir and any(path.startswith(f"{entry.path}/") for path in claimed):
            for inner in self._list(entry.path):
                yield from self._unclaimed(inner, claimed)
            return
        is_model = entry.is_dir and any(inner.path.endswith("/MLmodel") for inner in self._list(entry.path))
        yield _Piece(entry.path, entry.path, {"kind": "model" if is_model else "artifact"})

    def _models(self, claimed: set[str]) -> Iterator[_Piece]:
        """Yield the models that MLflow 3 keeps beside the run, but for those that unitrack made of artifacts."""
        for output in getattr(getattr(self._run, "outputs", None), "model_outputs", None) or ():
            model = self._client.get_logged_model(output.model_id)
            if model.name not in claimed and not ("unitrack.model" in model.tags and claimed):
                metadata = {"mlflow": {"model_id": output.model_id, "step": output.step}}
                yield _Piece(model.name, model.name, {"kind": "model", "metadata": metadata}, model.artifact_location)

    def _media(self) -> Iterator[tuple[str, MediaPath]]:
        for path in self._walk("media"):
            told = self._names.media(path)
            if told is not None and not path.endswith(".about.json"):
                yield path, told

    def _walk(self, folder: str) -> Iterator[str]:
        for entry in self._list(folder):
            if entry.is_dir:
                yield from self._walk(entry.path)
            else:
                yield entry.path

    def _list(self, folder: str | None) -> list[Any]:
        key = folder or ""
        if key not in self._listed:
            self._listed[key] = list(self._client.list_artifacts(self._id, folder))
        return self._listed[key]

    # -- artifacts -------------------------------------------------------------------------------

    def _artifact(self, objects: ObjectStore, piece: _Piece, time: float) -> Artifact:
        about = piece.about
        fields: dict[str, Any] = {
            "kind": about.get("kind", "artifact"), "aliases": about.get("aliases", []),
            "metadata": about.get("metadata", {}), "uri": about.get("uri"),
        }  # fmt: skip
        digest, size, is_tree = about.get("digest"), about.get("size"), False
        if fields["uri"] is None:
            stored = self._store(objects, piece)
            if stored is None:
                fields["uri"] = f"{self._origin}/{piece.path}"
            else:
                digest, size, is_tree = stored
        return Artifact(seq=0, time=time, name=piece.name, digest=digest, size=size, tree=is_tree, **fields)

    def _store(self, objects: ObjectStore, piece: _Piece) -> tuple[str, int, bool] | None:
        """Fetch an artifact and keep it; None if MLflow hasn't got it."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            try:
                local = self._fetch(piece, scratch)
            except (MlflowException, FileNotFoundError) as error:
                if piece.path in {entry.path for entry in self._list(None)}:
                    raise
                self._lower("artifact", piece.name, f"MLflow doesn't have it any more: {error}")
                return None
            stored = self._put_tree(objects, local, piece) if local.is_dir() else objects.put_file(local)
        wanted = piece.about.get("digest")
        if wanted not in (None, stored.digest):
            self._lower("artifact", piece.name, f"MLflow holds other bytes than {wanted}, which was logged")
        return stored.digest, stored.size, isinstance(stored, TreeInfo)

    def _fetch(self, piece: _Piece, scratch: str) -> Path:
        if piece.model is None:
            return Path(self._client.download_artifacts(self._id, piece.path, scratch))
        from mlflow.artifacts import download_artifacts

        self._lower("logged-model", piece.name, "its own params, metrics and tags stay in MLflow")
        uri = self._client.tracking_uri
        return Path(download_artifacts(artifact_uri=piece.model, dst_path=scratch, tracking_uri=uri))

    def _put_tree(self, objects: ObjectStore, local: Path, piece: _Piece) -> TreeInfo:
        """Keep a folder, by its manifest if the files alone don't tell what it was."""
        digest = str(piece.about.get("digest", ""))
        path = f"unitrack/folders/{digest.removeprefix('sha256:')}.json"
        if not digest or path not in {entry.path for entry in self._list("unitrack/folders")}:
            return objects.put_tree(local)
        data = self._bytes(path)
        manifest = parse(data)
        for entry in manifest.files:
            objects.put_file(local / to_path(entry.path).text)
        stored = objects.put_bytes(data)
        size = sum(entry.size for entry in manifest.files)
        return TreeInfo(digest=stored.digest, size=size, files=manifest.files, folders=manifest.folders)

    def _used(self, objects: ObjectStore, name: str, about: Mapping[str, Any], time: float) -> Artifact:
        """Return an artifact that the run read, whose bytes are with the run that made it."""
        digest, uri = about.get("digest"), about.get("uri")
        if digest is not None and uri is None:
            try:
                objects.get(digest)
            except UsageError:
                uri = f"{self._origin}/inputs/{name}"
                self._lower("artifact", name, "it was read, not made, by the run: its bytes are not with it in MLflow")
        return Artifact(
            seq=0, time=time, name=name, kind=about.get("kind", "artifact"), digest=digest, size=about.get("size"),
            use="input", uri=uri, aliases=about.get("aliases", []), metadata=about.get("metadata", {}),
        )  # fmt: skip

    # -- media and captures ----------------------------------------------------------------------

    def _shown(self, objects: ObjectStore, path: str, told: MediaPath, time: float) -> Media:
        known = {entry.path for entry in self._list(path.rpartition("/")[0])}
        about = json.loads(self._bytes(told.about)) if told.about in known else {}
        kind = about.get("kind") or implied_kind(told.format)
        fields: dict[str, Any] = {"caption": about.get("caption"), "metadata": about.get("metadata") or {}}
        with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            local = Path(self._client.download_artifacts(self._id, path, scratch))
            inline = _inline(kind, local)
            if inline is not None:
                fields["inline"] = inline
            else:
                stored = objects.put_file(local)
                fields |= {"digest": stored.digest, "size": stored.size}
        return Media(
            seq=0, time=time, name=told.name, kind=kind, format=told.format, step=told.step, **fields
        )  # fmt: skip

    def _captures(self, time: float) -> Iterator[Capture]:
        """Yield captures, those of the first rank last: they have the last word."""
        for path in sorted(self._walk("unitrack/captures"), key=_capture_order):
            name = _LATER.sub("", path.removeprefix("unitrack/captures/").removesuffix(".json"))
            rank, _, rest = name.partition("/")
            if rest and rank.removeprefix("rank").isdigit():
                name = rest
            yield Capture(seq=0, time=time, name=self._names.path(name), values=json.loads(self._bytes(path)))

    def _bytes(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="unitrack-") as scratch:
            return Path(self._client.download_artifacts(self._id, path, scratch)).read_bytes()


def _capture_order(path: str) -> tuple[bool, str]:
    # `git.json` before `git@...json`, and what other ranks captured before all of the first's.
    return not path.startswith("unitrack/captures/rank"), path.removesuffix(".json")


def _inline(kind: str, local: Path) -> Any:
    """Return what a journal holds itself: histograms and short texts."""
    if kind == "histogram":
        return json.loads(local.read_bytes())
    if kind != "text" or local.stat().st_size > _LARGEST_INLINE:
        return None
    try:
        return local.read_bytes().decode()
    except UnicodeDecodeError:
        return None
