"""What the registry asks of W&B, through W&B's own client: collections, artifacts in them, links, aliases."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from unitrack.errors import BackendError, RegistryError
from unitrack_wandb._errors import translated
from unitrack_wandb._names import from_run_key, to_run_key
from unitrack_wandb._online import client_settings
from unitrack_wandb._place import Options
from unitrack_wandb._registry_state import Link, Member
from unitrack_wandb._server import Server

__all__ = ["HISTORY", "MODEL", "Pen", "RegistryOptions", "Shelf"]

MODEL, HISTORY = "model", "unitrack-history"
_REGISTRY = "wandb-registry-"
_PAGE = 500
_OWN_ALIASES = ("latest",)
_COMMIT_SECONDS = 30
"""Times the timeout of an answer, for an artifact to be committed."""


class RegistryOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[registries.wandb]`. Credentials come from the environment or `wandb login`."""

    registry: str = "wandb-registry-model"
    """The registry, or the project, whose collections are the models; `organization/registry` where there are more."""
    project: str = "unitrack-registry"
    """The project for the history, and for what stands for versions whose files aren't in W&B."""
    runs: list[str] = []
    """The projects in which to look for the run of a version; all unless given."""
    entity: str | None = None
    """WANDB_ENTITY or the account's own unless given."""
    base_url: str | None = None
    """WANDB_BASE_URL or W&B's own server unless given."""
    timeout: float = 20.0
    """Seconds until an answer of the server is given up."""


class Shelf:
    """The collections of one registry, and the project beside it."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._server = Server(options.base_url, timeout=options.timeout)
        self._places: list[str] = []

    @property
    def where(self) -> str:
        """Name it in a message."""
        return self._server.where

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Raise RegistryError for what W&B's client raises."""
        from wandb import errors

        try:
            with translated(self.where):
                yield
        except BackendError as error:
            raise RegistryError(str(error)) from error
        except (errors.Error, ValueError) as error:
            raise RegistryError(f"{self.where}: {error}") from error

    @cached_property
    def entity(self) -> str:
        """The account's or team's name; a server that is down or refuses is told here, and says why."""
        own = self._server.viewer()
        return self._options.entity or os.environ.get("WANDB_ENTITY") or own or ""

    @cached_property
    def _api(self) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        entity = self.entity
        import wandb

        return wandb.Api(
            overrides={"base_url": self._server.url, "entity": entity}, timeout=int(self._options.timeout) or 1
        )

    @property
    def _registry(self) -> str:
        name = self._options.registry
        return name if name.startswith(_REGISTRY) or "/" in name else f"{self.entity}/{name}"

    @property
    def _project(self) -> str:
        return f"{self.entity}/{self._options.project}"

    # -- reading ---------------------------------------------------------------------------------

    def collections(self) -> tuple[list[str], list[str]]:
        """Return the names of the models' collections, and of the histories."""
        models = _or_nothing(lambda: self._api.artifact_collections(self._registry, MODEL, per_page=_PAGE))
        told = _or_nothing(lambda: self._api.artifact_collections(self._project, HISTORY, per_page=_PAGE))
        return [one.name for one in models], [one.name for one in told]

    def members(self, name: str) -> list[tuple[Member, Any]]:
        """Return what is linked as a model's versions, with the client's own objects."""
        found = _or_nothing(lambda: self._api.artifacts(MODEL, f"{self._registry}/{name}", per_page=_PAGE))
        return [(_member(one), one) for one in found]

    def history(self, sequence: str) -> dict[int, Any]:
        """Return the committed versions of a history by their index."""
        found = _or_nothing(lambda: self._api.artifacts(HISTORY, f"{self._project}/{sequence}", per_page=_PAGE))
        return {_index(one.version): one for one in found}

    def read(self, artifact: Any, *names: str, largest: int) -> list[bytes]:
        """Return files of an artifact. Raises RegistryError if one is missing or too large."""
        if artifact.size > largest:
            raise RegistryError(f"it has {artifact.size:,} bytes, more than a registry file can have")
        with tempfile.TemporaryDirectory(prefix="unitrack-wandb-") as scratch:
            self.download(artifact, Path(scratch))
            try:
                return [Path(scratch, name).read_bytes() for name in names]
            except OSError as error:
                raise RegistryError(f"its file {error.filename and Path(error.filename).name} is missing") from None

    def download(self, artifact: Any, folder: Path) -> Path:
        """Download an artifact's files past the client's cache, whose content nobody checks here."""
        return Path(artifact.download(root=str(folder), skip_cache=True))

    def fetch(self, name: str, member: Member, folder: Path) -> Path:
        """Download a version of a model's collection."""
        # Asked for by its number: what the client lists it takes for the version of the place it was logged in.
        return self.download(self._api.artifact(f"{self._registry}/{name}:v{member.index}"), folder)

    def run_of(self, artifact: Any) -> tuple[str, str | None] | None:
        """Return the id, unitrack's if it sent it, and the commit of the run that logged an artifact."""
        run = artifact.logged_by()
        return None if run is None else (from_run_key(run.id), getattr(run, "commit", None) or None)

    def sent(self, run: str, digest: str, artifact: str | None) -> Link | None:
        """Return the model of this digest that a run logged in W&B, if it did."""
        project = self._project_of(run)
        if project is None:
            return None
        place = f"{self.entity}/{project}"
        for one in self._api.run(f"{place}/{to_run_key(run)}").logged_artifacts():
            told = _told(one)
            if one.type == MODEL and told.get("digest") == digest and artifact in (None, told.get("name")):
                return Link(one.id, one.source_qualified_name)
        # What another run logged before is that run's alone, though it is the same version.
        same = [] if artifact is None else _or_nothing(lambda: self._api.artifacts(MODEL, f"{place}/{artifact}"))
        found = next((one for one in same if _told(one).get("digest") == digest), None)
        return None if found is None else Link(found.id, found.source_qualified_name)

    def _project_of(self, run: str) -> str | None:
        """Return the project that has a run; runs of one model are mostly in one."""
        everywhere = self._options.runs or [one.name for one in self._api.projects(self.entity)]
        for project in sorted(everywhere, key=lambda one: one not in self._places):
            if self._server.held(entity=self.entity, project=project, run=to_run_key(run)) is not None:
                self._places.append(project)
                return str(project)
        return None

    # -- changing --------------------------------------------------------------------------------

    def link(self, link: Link, name: str, aliases: Iterable[str]) -> None:
        """Make an artifact a version of a model's collection; it is one already if it was linked before."""
        artifact = self._api.artifact(link.source)
        with _environment(WANDB_BASE_URL=self._server.url):  # with old servers the client asks again on its own
            artifact.link(f"{self._registry}/{name}", aliases=sorted(aliases))

    def add_aliases(self, artifact: Any, aliases: set[str]) -> None:
        """Give an artifact these aliases, too; another one of its collection that had one of them loses it."""
        if not aliases <= set(artifact.aliases):
            artifact.aliases = sorted({*artifact.aliases, *aliases})
            artifact.save()

    def drop_aliases(self, artifact: Any, aliases: set[str]) -> None:
        """Take aliases from an artifact."""
        if not aliases.isdisjoint(artifact.aliases):
            artifact.aliases = [alias for alias in artifact.aliases if alias not in aliases]
            artifact.save()

    @contextmanager
    def pen(self) -> Iterator[Pen]:
        """Give what logs artifacts, in a run that is begun when it is needed and finished at the end."""
        pen = Pen(self._options, self._server.url, self.entity)
        try:
            yield pen
        finally:
            pen.close()


class Pen:
    """Logs artifacts: W&B's client does that in runs alone."""

    def __init__(self, options: RegistryOptions, url: str, entity: str) -> None:
        self._options, self._url, self._entity = options, url, entity
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._run: Any = None

    def log(
        self, name: str, kind: str, files: Mapping[str, bytes], *, metadata: Mapping[str, Any], description: str = "",
        reference: str | None = None,
    ) -> Callable[[], Any]:  # fmt: skip
        """Send an artifact of these files, or of a reference; call what this returns to wait until it is committed."""
        import wandb

        run = self._opened()
        artifact = wandb.Artifact(name, type=kind, metadata=dict(metadata), description=description or None)
        artifact.ttl = None  # a team may have old versions of artifacts deleted, but not these
        folder = Path(tempfile.mkdtemp(dir=self._scratch.name)) if self._scratch else Path()
        for path, data in files.items():
            (folder / path).write_bytes(data)
            artifact.add_file(str(folder / path), policy="immutable", skip_cache=True)
        if reference is not None:
            artifact.add_reference(reference, name="elsewhere", checksum=False)
        logged = run.log_artifact(artifact)
        return lambda: logged.wait(timeout=int(self._options.timeout * _COMMIT_SECONDS))

    def _opened(self) -> Any:
        if self._run is None:
            import wandb

            self._scratch = tempfile.TemporaryDirectory(prefix="unitrack-wandb-", ignore_cleanup_errors=True)
            options = Options(timeout=self._options.timeout)
            self._run = wandb.init(
                mode="online", id=f"registry-{secrets.token_hex(6)}", project=self._options.project,
                entity=self._entity or None, job_type="unitrack-registry", dir=self._scratch.name,
                reinit="create_new",  # the run that a training process may have open goes on
                settings=wandb.Settings(**client_settings(options, self._url)),
            )  # fmt: skip
        return self._run

    def close(self) -> None:
        """End the run, if there is one."""
        if self._run is not None:
            run, self._run = self._run, None
            run.finish(exit_code=0)
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


def _or_nothing(ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """Return what W&B lists; its client has no word for a collection that isn't there but a bare ValueError."""
    from wandb.errors import CommError

    try:
        return list(ask())
    except (ValueError, CommError) as error:
        cause = error.exc if isinstance(error, CommError) else error
        if type(cause) is not ValueError:
            raise
        return []


def _member(artifact: Any) -> Member:
    return Member(
        index=_index(artifact.name.rpartition(":")[2]),
        link=Link(artifact.id, artifact.source_qualified_name),
        aliases=tuple(alias for alias in artifact.aliases if alias not in _OWN_ALIASES),
        created=_time(artifact.created_at),
        description=artifact.description or "",
        told=_told(artifact),
    )


def _time(stamp: str) -> datetime:
    made = datetime.fromisoformat(stamp.replace("Z", "+00:00")).replace(microsecond=0)
    return made if made.tzinfo else made.replace(tzinfo=timezone.utc)


def _told(artifact: Any) -> Mapping[str, Any]:
    told = artifact.metadata.get("unitrack")
    return told if isinstance(told, dict) else {}


def _index(version: str) -> int:
    if not version.startswith("v") or not version[1:].isdigit():
        raise RegistryError(f"W&B tells of a version {version!r:.80}, which is none")
    return int(version[1:])


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
