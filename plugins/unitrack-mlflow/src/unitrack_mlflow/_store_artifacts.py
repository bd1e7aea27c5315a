"""The artifacts of a run or a logged model, kept as unitrack keeps them: each file under its digest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository, verify_artifact_path

from unitrack.errors import UsageError
from unitrack.objects import ObjectStore
from unitrack_mlflow._store_runs import parse, writers

__all__ = ["MODEL_ID", "UnitrackArtifacts"]

MODEL_ID = "mlflow.model_id"
"""The key of an artifact's metadata that names its logged model."""


class UnitrackArtifacts(ArtifactRepository):  # type: ignore[misc]  # MLflow is not typed
    """What `unitrack:///STORE/runs/RUN/...` holds. Safe for threads, as MLflow downloads with several."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        self._place = parse(artifact_uri)
        self._writers = writers(self._place.root)

    # -- in --------------------------------------------------------------------------------------

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Keep a file."""
        verify_artifact_path(artifact_path)
        self._keep(Path(local_file), self._name(artifact_path, os.path.basename(local_file)))

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Keep a folder: a logged model's as one artifact of kind `model`, any other file by file, as MLflow does."""
        verify_artifact_path(artifact_path)
        if self._place.model_id is not None and not artifact_path:
            self._keep(Path(local_dir), self._place.prefix)
            return
        root = Path(local_dir)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                self._keep(path, self._name(artifact_path, path.relative_to(root).as_posix()))

    def _keep(self, path: Path, name: str) -> None:
        run, model = self._writers.run(self._place.run_id), self._place.model_id
        try:
            if model is None:
                run.log_artifact(path, name=name)
            else:
                run.log_artifact(path, name=name, kind="model", metadata={MODEL_ID: model})
        except UsageError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _name(self, *parts: str | None) -> str:
        return "/".join(part.strip("/") for part in (self._place.prefix, *parts) if part and part != ".")

    # -- out -------------------------------------------------------------------------------------

    def _files(self) -> dict[str, tuple[str, int]]:
        """Return (digest, size) of each file by its path below this place; of one path the last counts."""
        files: dict[str, tuple[str, int]] = {}
        for artifact in self._writers.view(self._place.run_id).artifacts:
            ours = self._place.model_id in (None, artifact.metadata.get(MODEL_ID))
            if artifact.use != "output" or artifact.digest is None or artifact.uri is not None or not ours:
                continue
            if artifact.tree:
                for entry in self._objects.manifest(artifact.digest).files:
                    files[f"{artifact.name}/{entry.path}"] = (entry.digest, entry.size)
            else:
                files[artifact.name] = (artifact.digest, artifact.size or 0)
        start = f"{self._place.prefix}/" if self._place.prefix else ""
        return {name[len(start) :]: found for name, found in files.items() if name.startswith(start)}

    @property
    def _objects(self) -> ObjectStore:
        return ObjectStore(self._writers.view(self._place.run_id).path.parents[1] / "objects")

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Return what is directly below `path`; nothing if that is a file or isn't there."""
        start = f"{path.strip('/')}/" if path and path.strip("/") not in ("", ".") else ""
        found: dict[str, FileInfo] = {}
        for name, (_, size) in self._files().items():
            if name.startswith(start):
                here, _, deeper = name[len(start) :].partition("/")
                full = start + here
                found[full] = FileInfo(full, is_dir=bool(deeper), file_size=None if deeper else size)
        return [found[name] for name in sorted(found)]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        files, name = self._files(), remote_file_path.strip("/")
        if name not in files:
            raise MlflowException(f"{self.artifact_uri} has no artifact {name!r}", RESOURCE_DOES_NOT_EXIST)
        digest = files[name][0]
        objects = self._objects
        if not objects.verify(digest):
            raise MlflowException(f"the object of {name!r}, {digest}, is damaged or gone: log it again")
        shutil.copyfile(objects.get(digest), local_path)

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Refuse: what was logged stays. Raises MlflowException."""
        raise MlflowException.invalid_parameter_value("a unitrack store doesn't delete artifacts: a journal only grows")
