"""W&B's artifacts: gathered in a folder, logged as one artifact with its type, aliases and metadata."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from unitrack import media
from unitrack.compat._support import refuse
from unitrack.compat.wandb._data import Shown
from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import Artifact as Logged
from unitrack.model import check_artifact_name
from unitrack.reader import open_store
from unitrack.run import Found, Run

__all__ = ["Artifact", "UsedArtifact", "find", "wrapped"]


class Artifact:
    """Files under one name and type. What is added is copied at once, so it may change or go afterwards."""

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
        storage_region: str | None = None,
        digest_algorithm: Any = None,
    ) -> None:
        if incremental:
            raise refuse("wandb.Artifact(incremental=True)", "add all files: equal ones are stored once anyway")
        self.name, self.type, self.description = check_artifact_name(name), type, description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.aliases: list[str] = []
        self.digest: str | None = None
        self._run: Run | None = None
        self._references: list[tuple[str, str, str | None]] = []
        self._folder: Path | None = None

    @property
    def _gathered(self) -> Path:
        """Where its files are gathered until it is logged. Raises UsageError after that."""
        if self._run is not None:
            raise UsageError(f"artifact {self.name!r} was logged: make a new one of that name for another version")
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="unitrack-artifact-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> None:
        """Add a file. Raises ValueError if it isn't there."""
        source = Path(local_path)
        if not source.is_file():
            raise UsageError(f"there is no file {str(source)!r} to add to artifact {self.name!r}")
        with self._gathering(source):
            shutil.copyfile(source, self._place(name or source.name))

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Add all of a folder. Raises ValueError if it isn't there."""
        source = Path(local_path)
        if not source.is_dir():
            raise UsageError(f"there is no folder {str(source)!r} to add to artifact {self.name!r}")
        inside = check_artifact_name(name.rstrip("/")) if name else "."
        with self._gathering(source):
            shutil.copytree(source, self._gathered / inside, dirs_exist_ok=True)

    @contextmanager
    def _gathering(self, source: object) -> Iterator[None]:
        """Tell of what can't be copied, a full disk say, instead of stopping training."""
        try:
            yield
        except (OSError, shutil.Error) as error:
            warnings.warn(
                f"{str(source)!r} can't be copied and is not in the artifact {self.name!r}: {error}. Training goes on",
                UnitrackWarning,
                stacklevel=5,
            )

    def add_reference(
        self, uri: Any, name: str | None = None, checksum: bool = True, max_objects: int | None = None
    ) -> None:
        """Add data by its URI; its bytes are not read."""
        address = str(uri)
        self._references.append((address, name or address.rstrip("/").rpartition("/")[2], None))

    def add(self, obj: Any, name: str, overwrite: bool = False) -> None:
        """Add a media object or table as a file."""
        for part, shown in (obj if isinstance(obj, Shown) else _refuse(obj)).parts(name):
            encoded = media.encode(shown)
            ending = "table.json" if encoded.kind == "table" else encoded.format
            place = self._place(part if part.endswith(f".{ending}") else f"{part}.{ending}")
            if encoded.path is not None:
                with self._gathering(encoded.path):
                    shutil.copyfile(encoded.path, place)
            else:
                data = encoded.data if encoded.data is not None else str(encoded.inline).encode()
                with self._gathering(part):
                    place.write_bytes(data)

    @contextmanager
    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None, policy: str | None = None
    ) -> Iterator[IO[Any]]:
        """Open a new file of the artifact for writing."""
        with open(self._place(name), mode, encoding=encoding or (None if "b" in mode else "utf-8")) as file:
            yield file

    def _place(self, name: str) -> Path:
        path = self._gathered / check_artifact_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def wait(self, timeout: float | None = None) -> Artifact:
        """Return at once: what is logged is there."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"wandb.Artifact.{name}", "see docs/compat.md for what an artifact can do")

    def _log_to(self, run: Run, aliases: list[str]) -> None:
        """Log it into a run; `latest` is always one of the aliases."""
        self.aliases = list(dict.fromkeys(["latest", *aliases]))
        about = {**self.metadata, **({"description": self.description} if self.description else {})}
        for uri, name, digest in self._references:
            run.log_artifact(uri, name=f"{self.name}/{name}", kind=self.type, digest=digest)
            about.setdefault("references", []).append(uri)
        self.digest = run.log_artifact(
            self._gathered, name=self.name, kind=self.type, aliases=self.aliases, metadata=about
        )
        shutil.rmtree(self._gathered, ignore_errors=True)
        self._run = run

    @property
    def version(self) -> str | None:
        """`vN`, counted in the store over what differs; None before it is logged."""
        if self._run is None:
            return None
        digests = list(dict.fromkeys(artifact.digest for _, artifact in _logged(self._run, self.name)))
        return f"v{digests.index(self.digest)}" if self.digest in digests else None


def wrapped(path: str | os.PathLike[str], name: str | None, kind: str | None, run: Run) -> Artifact:
    """Return a file or folder as an artifact; W&B names it after the run unless it has a name."""
    artifact = Artifact(name or f"run-{run.id}-{Path(path).name}", kind or "unspecified")
    if "://" in str(path):
        artifact.add_reference(path)
    elif Path(path).is_dir():
        artifact.add_dir(path)
    else:
        artifact.add_file(path)
    return artifact


def _refuse(value: Any) -> Shown:
    raise refuse(f"wandb.Artifact.add({type(value).__name__})", "add a wandb media object or Table, or use add_file")


# -- use -----------------------------------------------------------------------------------------


class UsedArtifact:
    """An artifact that another run logged. Its use is recorded once, when it is asked for."""

    def __init__(self, run: Run, found: Found, logged: Logged, version: str) -> None:
        self._found, self._path = found, run._use(found, None)
        self.name, self.type, self.version = f"{found.name}:{version}", found.kind, version
        self.digest, self.metadata, self.aliases = found.digest, dict(logged.metadata), list(logged.aliases)
        self.source_name = self.name
        self._objects = run._objects

    def download(self, root: str | os.PathLike[str] | None = None, **_: Any) -> str:
        """Return the folder with the files, under `root` if that is given."""
        if root is None:
            return str(self._path)
        return str(self._objects.checkout(self._found.digest, root, tree=self._found.tree))

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Return the path of an artifact's only file. Raises ValueError if it has several."""
        files = [path for path in Path(self.download(root)).rglob("*") if path.is_file()]
        if len(files) != 1:
            raise UsageError(f"{self.name} has {len(files)} files: use download()")
        return str(files[0])

    def get_entry(self, name: str) -> _Entry:
        """Return a file of it by its name."""
        return _Entry(Path(self.download()) / check_artifact_name(name))

    get_path = get_entry

    def wait(self, timeout: float | None = None) -> UsedArtifact:
        """Return at once."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise refuse(f"wandb.Artifact.{name} of a used artifact", "download() it and read the files")


class _Entry:
    def __init__(self, path: Path) -> None:
        self._path = path

    def download(self, root: str | None = None) -> str:
        if root is None:
            return str(self._path)
        Path(root).mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(self._path, Path(root) / self._path.name))


def find(run: Run, reference: str) -> UsedArtifact:
    """Return `NAME`, `NAME:latest`, `NAME:vN` or `NAME:ALIAS` of the store. Raises UsageError."""
    name, _, word = reference.rpartition("/")[2].partition(":")
    logged = _logged(run, name)
    digests = list(dict.fromkeys(artifact.digest for _, artifact in logged))
    word = word or "latest"
    for run_id, artifact in reversed(logged):
        version = f"v{digests.index(artifact.digest)}"
        if word in ("latest", version, *artifact.aliases):
            found = Found(
                name=name, kind=artifact.kind, digest=artifact.digest or "", size=artifact.size, tree=artifact.tree,
                origin=f"{run_id}/{name}",
            )  # fmt: skip
            return UsedArtifact(run, found, artifact, version)
    known = ", ".join(f"v{index}" for index in range(len(digests))) or "none"
    raise UsageError(f"the store {run.spec.store} has no artifact {name}:{word}; versions of {name!r}: {known}")


def _logged(run: Run, name: str) -> list[tuple[str, Logged]]:
    """Return (run, artifact) of all that was logged under `name` in the store, oldest first."""
    store = open_store(run.spec.store)
    found = [
        (artifact.time, run_id, artifact)
        for run_id in store.ids()
        for artifact in store.run(run_id, salvage=True).artifacts
        if artifact.name == name and artifact.use == "output" and artifact.digest and artifact.uri is None
    ]
    found.sort(key=lambda each: each[0])
    return [(run_id, artifact) for _, run_id, artifact in found]
