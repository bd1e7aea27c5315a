"""The local registry: one JSON file a model in a folder, `<store>/registry/`, made to be committed to git."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from unitrack.errors import RegistryError
from unitrack.files import write_atomic
from unitrack.registry import changes, codec
from unitrack.registry.base import Registry, whoever_runs_this
from unitrack.registry.interface import check_model_name
from unitrack.registry.lock import exclusive
from unitrack.registry.state import ModelFile

__all__ = ["LocalRegistry"]


class LocalRegistry(Registry):
    """The models in the folder `root`. Safe for many processes at once; a reader waits for nobody.

    A change waits up to `timeout` seconds for others to finish theirs.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], datetime] | None = None,
        identity: Callable[[], str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.folder = Path(root)
        self.where = str(root)
        super().__init__(clock=clock, identity=identity or (lambda: whoever_runs_this(self.folder)))
        self._timeout = timeout

    def models(self) -> tuple[str, ...]:
        """Return the names of all models, sorted."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.stem for path in self.folder.glob("*.json") if not path.name.startswith(".")))

    def _path(self, name: str) -> Path:
        return self.folder / f"{check_model_name(name)}.json"

    def state(self, name: str) -> ModelFile:
        path = self._path(name)
        # Asked by listing: a file system that ignores case would open Digits.json for digits.
        if name not in self.models():
            known = ", ".join(self.models()[:20]) or "none yet"
            raise RegistryError(f"the registry {self.folder} has no model {name!r}; it has {known}")
        try:
            return codec.decode(path.read_bytes(), path)
        except OSError as error:
            raise RegistryError(f"{path} can't be read: {error.strerror}") from error

    def change(self, name: str, change: Callable[[ModelFile], ModelFile], *, create: bool = False) -> ModelFile:
        path = self._path(name)
        if create:
            self._create_folder()
        elif not path.exists():
            return self.state(name)  # says that there is no such model, and leaves no lock file behind
        # One lock for all spellings of a name, so that none slips in beside another.
        with exclusive(self.folder / f".{name.lower()}.lock", timeout=self._timeout):
            before = self._read_or_new(name) if create else self.state(name)
            after = change(before)
            if after is not before:
                self._write(path, after)
        return after

    def _read_or_new(self, name: str) -> ModelFile:
        known = self.models()
        if name in known:
            return self.state(name)
        twin = next((other for other in known if other.lower() == name.lower()), None)
        if twin is not None:
            raise RegistryError(
                f"the registry has the model {twin!r}, and {name!r} would be the same file where case is ignored: "
                f"use {twin!r} or another name"
            )
        return changes.new_model(name)

    def _create_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"{self.folder} can't be made: {error.strerror}") from error

    def _write(self, path: Path, model: ModelFile) -> None:
        try:
            for scratch in self.folder.glob(f".{path.name}.*.tmp"):  # of a writer that was killed: the lock is ours
                scratch.unlink(missing_ok=True)
            write_atomic(path, codec.encode(model))
        except OSError as error:
            raise RegistryError(f"{path} can't be written: {error.strerror}; nothing was changed") from error
