"""What a stage of a pipeline is made of, and the collector `dvc`, which says in which one a training runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["DvcCollector", "facts_of_stage", "run_id_of"]


class DvcCollector:
    """Says which stage `dvc repro` or `dvc exp run` is running, with the versions it depends on; nothing elsewhere."""

    name = "dvc"

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def collect(self) -> Mapping[str, Any]:
        """Return the stage, its command, dependencies, parameters and the experiment it belongs to."""
        stage, root = self._environ.get("DVC_STAGE"), self._environ.get("DVC_ROOT")
        if not stage or not root:
            return {}
        from dvc.repo import Repo

        with Repo(root) as repo:
            (found, *_) = repo.stage.collect(stage)
            facts = {**facts_of_stage(found, now=True), "file": Path(found.relpath).name}
        experiment = {
            "experiment": self._environ.get("DVC_EXP_NAME"),
            "baseline": self._environ.get("DVC_EXP_BASELINE_REV"),
        }
        return {**facts, **{name: value for name, value in experiment.items() if value}}


def facts_of_stage(stage: Any, *, now: bool = False) -> dict[str, Any]:
    """Return what made the data: the stage and its run, or the `.dvc` file.

    `now` asks for the dependencies as they are, which DVC has hashed before it runs a stage; else as they were locked.
    """
    if not stage.cmd:
        return {"file": stage.relpath}
    deps = {str(dep): _version(dep, now=now) for dep in stage.deps if dep.fs_path and not _is_params(dep)}
    params: dict[str, Any] = {}
    for dep in filter(_is_params, stage.deps):
        params.update(dep.read_params() if now else dep.hash_info.value or {})
    return {
        "stage": stage.addressing,
        "cmd": stage.cmd,
        "deps": deps,
        "params": params,
        "run": run_id_of(stage.cmd, deps, params),
    }


def run_id_of(cmd: Any, deps: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Return an id that two runs of a stage share exactly if command, dependencies and parameters are the same."""
    whole = json.dumps([cmd, dict(deps), dict(params)], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def _version(dep: Any, *, now: bool) -> str | None:
    if not now:
        return dep.hash_info.value if dep.hash_info else None
    return dep.get_hash().value if dep.exists else None


def _is_params(dep: Any) -> bool:
    return type(dep).__name__ == "ParamsDependency"
