"""Models in MLflow 3: a logged model for each artifact of kind `model`, and versions of registered models.

Everything is looked for before it is made: a token in the logged model's tags, the digest in the version's. A kill
in between leaves a logged model that isn't ready, which the next call completes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from unitrack_mlflow._plan import ModelUse, Plan

__all__ = ["Models", "alias_for", "model_name", "source_of"]

_TOKEN, _DIGEST = "unitrack.model", "unitrack.digest"
_ABSENT = {"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED", "FEATURE_DISABLED"}
_LONGEST_ALIAS, _LONGEST_NAME = 255, 250


class Models:
    """Models of one run; `register` is whether all become versions, or artifact names to registered models."""

    def __init__(self, client: Any, experiment: str, run_id: str, *, register: bool | Mapping[str, str]) -> None:
        self._client, self._experiment, self._run_id, self._register = client, experiment, run_id, register

    def log(self, use: ModelUse, plan: Plan, send: Callable[[Callable[[str], None]], None]) -> None:
        """Make the logged model of an artifact and, if so wished, its version. Safe to repeat.

        `send(log)` lays the files out and calls `log` with their folder.
        """
        from mlflow.exceptions import MlflowException

        try:
            model = self._find(use) or self._create(use)
        except (MlflowException, NotImplementedError) as error:
            if isinstance(error, MlflowException) and error.error_code not in _ABSENT:
                raise
            plan.lower("model", use.name, "this tracker has no logged models: it is an artifact of the run alone")
            return
        if str(model.status) != "READY":
            send(lambda folder: self._client.log_model_artifacts(model.model_id, folder))
            self._client.finalize_logged_model(model.model_id, "READY")
        self._link(model.model_id)
        registered = self._registered_name(use.name)
        if registered is not None:
            self._version(registered, use, model, plan)

    def _token(self, use: ModelUse) -> str:
        return hashlib.sha256(f"{self._run_id} {use.name} {use.digest}".encode()).hexdigest()[:32]

    def _find(self, use: ModelUse) -> Any:
        wanted = f"tags.`{_TOKEN}` = '{self._token(use)}'"
        found = self._client.search_logged_models([self._experiment], filter_string=wanted, max_results=1)
        return found[0] if found else None

    def _create(self, use: ModelUse) -> Any:
        about = json.dumps(use.metadata, ensure_ascii=False)
        tags = {_TOKEN: self._token(use), _DIGEST: use.digest, "unitrack.artifact": use.name[:5000]}
        if use.metadata and len(about) <= 5000:
            tags["unitrack.metadata"] = about
        return self._client.create_logged_model(
            self._experiment, name=model_name(use.name), source_run_id=self._run_id, tags=tags
        )

    def _link(self, model_id: str) -> None:
        """Make it an output of the run; MLflow would list it as often as it is told."""
        from mlflow.entities import LoggedModelOutput

        outputs = self._client.get_run(self._run_id).outputs
        if outputs is None or model_id not in {one.model_id for one in outputs.model_outputs}:
            self._client.log_outputs(self._run_id, [LoggedModelOutput(model_id=model_id, step=0)])

    # -- the registry ----------------------------------------------------------------------------

    def _registered_name(self, name: str) -> str | None:
        if isinstance(self._register, bool):
            return model_name(name) if self._register else None
        return self._register.get(name)

    def _version(self, registered: str, use: ModelUse, model: Any, plan: Plan) -> None:
        """Register the digest, once, and set the aliases."""
        version = self._known_version(registered, use) or self._new_version(registered, use, model)
        for alias in use.aliases:
            word = alias_for(alias)
            if word != alias:
                plan.lower("alias", alias, f"is the alias {word} in MLflow")
            self._client.set_registered_model_alias(registered, word, version)

    def _known_version(self, registered: str, use: ModelUse) -> str | None:
        wanted = f"name = '{registered}' and tag.`{_DIGEST}` = '{use.digest}'"
        found = self._client.search_model_versions(wanted, max_results=1)
        return str(found[0].version) if found else None

    def _new_version(self, registered: str, use: ModelUse, model: Any) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(registered)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self._client.create_model_version(
            registered, source_of(self._client, model), run_id=self._run_id, tags={_DIGEST: use.digest},
            model_id=model.model_id, await_creation_for=0,
        )  # fmt: skip
        return str(made.version)


def source_of(client: Any, model: Any) -> str:
    """Return what a version names as its files: the logged model, or its folder where no server resolves that.

    Without a server MLflow looks a logged model up in the global tracking URI, whatever the client's own is.
    """
    served = str(client.tracking_uri).startswith(("http:", "https:", "databricks"))
    return f"models:/{model.model_id}" if served else str(model.artifact_location)


def model_name(name: str) -> str:
    """Return a name that MLflow takes for a model, which holds none of its path's own signs."""
    return re.sub(r"[/:.%\"']", "-", name)[:_LONGEST_NAME]


def alias_for(alias: str) -> str:
    """Return the nearest alias that MLflow takes: letters, digits, `_`, `-`, and neither `latest` nor `v1`."""
    word = re.sub(r"[^\w-]", "-", alias, flags=re.ASCII)[:_LONGEST_ALIAS] or "_"
    reserved = word.lower() == "latest" or re.fullmatch(r"v\d+", word, flags=re.IGNORECASE)
    return f"{word}-alias"[:_LONGEST_ALIAS] if reserved else word
