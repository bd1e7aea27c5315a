"""Artifacts, media and datasets to what MLflow holds. Pure: the bytes are the client's business."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from unitrack import events
from unitrack.backend import Record
from unitrack_mlflow._names import digest8, to_path
from unitrack_mlflow._plan import DatasetUse, ModelUse, Plan, Upload
from unitrack_mlflow._text import implied_kind

__all__ = ["add_json", "artifact", "dataset", "media"]


def artifact(plan: Plan, record: Record, event: events.Artifact) -> None:
    """Upload a file or folder that isn't there yet, and tell of it in a tag."""
    kind = "artifact" if event.use == "output" else "input"
    key = plan.key(event.name, f"unitrack.{kind}.")
    about = {
        "kind": event.kind, "digest": event.digest, "size": event.size, "uri": event.uri,
        "aliases": event.aliases, "metadata": event.metadata,
    }  # fmt: skip
    text = json.dumps({name: value for name, value in about.items() if value}, ensure_ascii=False)
    before = plan.tag_of(key)
    if before == text:
        return  # it is there: uploads come before tags
    if event.use == "output" and event.digest is not None and event.uri is None:
        if before is not None:
            plan.lower("artifact-version", event.name, "MLflow keeps one version of a name: the last")
        path = plan.note(event.name, to_path(event.name))
        plan.uploads.append(
            Upload(path=path, record=record, digest=event.digest, tree=event.tree, tag=key, model=_model(event))
        )
    plan.tag(key, text, record)


def _model(event: events.Artifact) -> ModelUse | None:
    if event.kind != "model" or event.digest is None:
        return None
    return ModelUse(name=event.name, digest=event.digest, aliases=tuple(event.aliases), metadata=event.metadata)


def media(plan: Plan, record: Record, event: events.Media) -> None:
    """Upload what is shown, with what its name and format don't tell beside it."""
    if event.inline is None and event.digest is None:
        return
    data = None if event.inline is None else _bytes(event.inline)
    mark = (event.digest or "").removeprefix("sha256:")[:8] if data is None else hashlib.sha256(data).hexdigest()[:8]
    base = f"media/{plan.note(event.name, to_path(event.name))}/{_step_word(event.step)}{mark}"
    path = f"{base}.{event.format}"
    plan.uploads.append(Upload(path=path, record=record, digest=None if data else event.digest, data=data))
    if event.caption or event.metadata or event.kind != implied_kind(event.format):
        about = {"kind": event.kind, "caption": event.caption, "metadata": event.metadata}
        add_json(plan, record, f"{base}.about.json", about)
    if event.kind == "histogram":
        plan.lower("histogram", event.name, "MLflow has no histograms: they are JSON artifacts under media/")


def _step_word(step: events.Step | None) -> str:
    if step is None:
        return ""
    return f"step-{int(step) if step == int(step) else step}-"


def _bytes(inline: Any) -> bytes:
    return inline.encode() if isinstance(inline, str) else json.dumps(inline, ensure_ascii=False).encode()


def add_json(plan: Plan, record: Record, path: str, values: Any) -> None:
    """Upload a document."""
    data = json.dumps(values, indent=2, ensure_ascii=False).encode()
    plan.uploads.append(Upload(path=path, record=record, data=data))


def dataset(plan: Plan, record: Record, event: events.DatasetUsed) -> None:
    """Name the data as an input; a long digest is whole in a tag."""
    digest = event.digest or event.version or digest8(f"{event.name} {event.uri}")
    short = digest.removeprefix("sha256:")[:36]
    if short != digest:
        tag = plan.key(event.name, "unitrack.dataset.")
        remedy = f"it has the first 36; the tag {tag} has all"
        plan.decide("dataset-digest", event.name, f"a digest of {len(digest)} characters", remedy)
        plan.tag(tag, digest, record)
    columns = [{"name": name, "type": kind} for name, kind in event.columns or []]
    profile = {"num_rows": event.rows, "version": event.version, **event.metadata}
    known = {name: value for name, value in profile.items() if value is not None}
    plan.datasets.append(
        DatasetUse(
            name=event.name[:500], digest=short, source_type=_source_type(event.uri),
            source=json.dumps({"uri": event.uri or event.name}),
            schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
            profile=json.dumps(known) if known else None, context=event.split,
        )
    )  # fmt: skip


def _source_type(uri: str | None) -> str:
    scheme = (uri or "").partition("://")[0] if "://" in (uri or "") else ""
    return {"http": "http", "https": "http", "s3": "s3"}.get(scheme, scheme or "local")
