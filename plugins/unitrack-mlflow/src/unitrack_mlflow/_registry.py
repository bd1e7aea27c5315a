"""The registry `mlflow`: models of MLflow's own registry, by unitrack's rules and with unitrack's history.

What MLflow has a word for is kept in its words: versions, descriptions, and as aliases (or as stages, for servers
older than 2.3) the free aliases and who is in staging and production. What it has none for is kept in tags: of a
version what was registered, of the model each change, by number. MLflow changes one thing at a time, so a change is
written down before it is carried out, and `unitrack.applied` counts those that were: a reader believes the tags where
the two differ after a kill, and MLflow's own words otherwise, as somebody who moved an alias there would expect.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from unitrack.errors import ConfigError, RegistryError
from unitrack.registry import Change, ModelVersion, Registry, check_model_name
from unitrack.registry.changes import new_model
from unitrack.registry.outside import wanted_aliases
from unitrack.registry.state import ModelFile, VersionRecord
from unitrack_mlflow import _registry_state as kept
from unitrack_mlflow._models import source_of
from unitrack_mlflow._registry_state import APPLIED, DIGEST, SCHEME, Native, Read

__all__ = ["MlflowRegistry", "MlflowRegistryFactory", "RegistryOptions"]

_PAGE = 1000
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


class RegistryOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[registries.mlflow]`. Credentials come from the environment, as MLflow reads them."""

    tracking_uri: str | None = None
    """MLFLOW_TRACKING_URI or MLflow's default unless given."""
    registry_uri: str | None = None
    """MLFLOW_REGISTRY_URI or the tracking URI unless given."""
    stages: bool = False
    """Keep staging and production as MLflow's own stages, which servers before 2.3 have instead of aliases."""


class MlflowRegistryFactory:
    """Opens the registry; imports nothing of MLflow before."""

    name = "mlflow"

    def open(self, options: Mapping[str, Any]) -> MlflowRegistry:
        """Check the options. Raises ConfigError that names the wrong one."""
        try:
            checked = msgspec.convert(dict(options), RegistryOptions)
        except msgspec.ValidationError as error:
            known = ", ".join(RegistryOptions.__struct_fields__)
            raise ConfigError(f"[registries.mlflow] {error}; the options are: {known}") from None
        return MlflowRegistry(checked)


class MlflowRegistry(Registry):
    """One MLflow. Two who change one model at the same moment are noticed where numbers collide, not kept apart."""

    def __init__(self, options: RegistryOptions, **known: Any) -> None:
        super().__init__(**known)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=options.tracking_uri, registry_uri=options.registry_uri)
        self._stages = options.stages
        self._experiments: list[str] | None = None
        self.where = f"MLflow at {self._client._registry_uri}"

    # -- reading ---------------------------------------------------------------------------------

    def models(self) -> tuple[str, ...]:
        """Return the names of the registered models that unitrack can name."""
        with self._asked():
            names = [model.name for model in self._pages(self._client.search_registered_models)]
        return tuple(sorted(name for name in names if _can_be_named(name)))

    def state(self, name: str) -> ModelFile:
        """Return everything that is known of a model."""
        read = self._read(check_model_name(name))
        if read is None:
            known = ", ".join(self.models()[:20]) or "none yet"
            raise RegistryError(f"{self.where} has no model {name!r}; it has {known}")
        return read.model

    def _read(self, name: str) -> Read | None:
        from mlflow.exceptions import MlflowException

        with self._asked():
            try:
                model = self._client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code == _ABSENT:
                    return None
                raise
            versions = list(self._pages(self._client.search_model_versions, filter_string=f"name='{name}'"))
        tags = {key: value for key, value in model.tags.items() if key.startswith("unitrack.")}
        native = Native(
            aliases={alias: int(number) for alias, number in model.aliases.items()},
            stages={int(one.version): str(one.current_stage) for one in versions},
            updated=model.last_updated_timestamp,
            by_stages=self._stages,
        )
        return kept.read(name, tags, versions, native, self._foreign_run)

    def _foreign_run(self, version: Any) -> tuple[str, str | None]:
        """Return the run and commit of a version that was not registered here: unitrack's id where it sent the run."""
        if not version.run_id:
            return f"mlflow-{version.name}-{version.version}", None
        with self._asked():
            tags = self._client.get_run(version.run_id).data.tags
        return tags.get("unitrack.run_id", version.run_id), tags.get("mlflow.source.git.commit")

    def _pages(self, search: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
        token = None
        while True:
            page = search(max_results=_PAGE, page_token=token, **arguments)
            yield from page
            token = page.token
            if not token:
                return

    # -- changing --------------------------------------------------------------------------------

    def change(self, name: str, change: Callable[[ModelFile], ModelFile], *, create: bool = False) -> ModelFile:
        """Write down what `change` adds, then carry it out."""
        read = self._read(check_model_name(name))
        if read is None and not create:
            return self.state(name)  # says that there is no such model
        before = new_model(name) if read is None else read.model
        after = change(before)
        written = 0 if read is None else read.written
        if after is before and read is not None and read.applied == written == len(before.history):
            return after
        with self._asked():
            if read is None:
                self._create(name)
            for position in range(written, len(after.history)):
                self._write(name, position, after)
            self._carry_out(after, read)
        return after

    def _create(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _write(self, name: str, position: int, after: ModelFile) -> None:
        change = after.history[position]
        if change.action == "register":
            self._register(name, change, after.versions[change.version - 1])
        self._client.set_registered_model_tag(name, kept.key_of(position), kept.encode(change))

    def _register(self, name: str, change: Change, record: VersionRecord) -> None:
        """Make the version in one request, with all that was registered; one that a kill left without its tag is it."""
        tags = kept.tags_of(record, change)
        source, model_id, run_id = self._source(record)
        existing = self._version_of(name, change.version)
        if existing is not None:
            if kept.record_of(existing.tags) not in (None, kept.essence(record)):
                raise RegistryError(_collision(name, change.version))
            return
        made = self._client.create_model_version(
            name, source, run_id=run_id, tags=tags, description=record.description or None, model_id=model_id,
            await_creation_for=0,
        )  # fmt: skip
        if int(made.version) != change.version:
            raise RegistryError(_collision(name, change.version, int(made.version)))

    def _version_of(self, name: str, number: int) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code == _ABSENT:
                return None
            raise

    def _source(self, record: VersionRecord) -> tuple[str, str | None, str | None]:
        """Return where MLflow finds the files, its logged model and its run, as far as the run was sent there."""
        nowhere = f"{SCHEME}://{record.run}/{quote(record.artifact or 'none', safe='')}"
        if record.digest is None:
            return nowhere, None, None
        if self._experiments is None:
            self._experiments = [one.experiment_id for one in self._pages(self._client.search_experiments)]
        wanted = f"tags.`{DIGEST}` = '{record.digest}'"
        found = self._client.search_logged_models(self._experiments, filter_string=wanted, max_results=1)
        if not found:
            return nowhere, None, None
        return source_of(self._client, found[0]), found[0].model_id, found[0].source_run_id

    def _carry_out(self, after: ModelFile, read: Read | None) -> None:
        """Make MLflow's own words say what the history says."""
        native = Native() if read is None else read.native
        if self._stages:
            for number, stage in kept.wanted_stages(after).items():
                if native.stages.get(number, "None") != stage:
                    self._client.transition_model_version_stage(after.name, str(number), stage)
        else:
            wanted = wanted_aliases(after)
            for alias in native.aliases.keys() - wanted.keys():
                self._client.delete_registered_model_alias(after.name, alias)
            for alias, number in wanted.items():
                if native.aliases.get(alias) != number:
                    self._client.set_registered_model_alias(after.name, alias, str(number))
        self._client.set_registered_model_tag(after.name, APPLIED, str(len(after.history)))

    # -- files -----------------------------------------------------------------------------------

    def fetch(self, version: ModelVersion, destination: Path) -> Path | None:
        """Download a version's files; None for one whose run was never sent to this MLflow."""
        from mlflow.artifacts import download_artifacts

        with self._asked():
            uri = self._client.get_model_version_download_uri(version.name, str(version.version))
            if uri.startswith(f"{SCHEME}:"):
                return None
            found = download_artifacts(
                artifact_uri=uri, dst_path=str(destination), tracking_uri=self._client.tracking_uri
            )
        return Path(found)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException

        try:
            yield
        except (MlflowException, RequestException) as error:
            raise RegistryError(f"{self.where}: {error}") from error


def _can_be_named(name: str) -> bool:
    try:
        check_model_name(name)
    except RegistryError:
        return False
    return True


def _collision(name: str, expected: int, made: int | None = None) -> str:
    what = "is somebody else's" if made is None else f"became version {made}, for others were deleted or came between"
    return (
        f"version {expected} of {name!r} {what}: nothing else was changed. See `unitrack models show {name}`, and "
        "do it again if it is still wanted"
    )
