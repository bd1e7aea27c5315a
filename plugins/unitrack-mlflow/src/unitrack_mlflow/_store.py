"""MLflow's tracking store over a unitrack store: what calls MLflow logs into journals, no import changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlflow.entities import Experiment, Metric, Run, RunInfo, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.tracking import SEARCH_MAX_RESULTS_DEFAULT
from mlflow.store.tracking.abstract_store import AbstractStore
from mlflow.utils.name_utils import _generate_random_name
from mlflow.utils.search_utils import SearchExperimentsUtils, SearchUtils

import unitrack
from unitrack import RunView
from unitrack.config import load_settings
from unitrack.reader import open_store
from unitrack_mlflow._store_entities import experiment_of, points_of, run_of
from unitrack_mlflow._store_models import LoggedModels
from unitrack_mlflow._store_runs import RUN, root_of, writers

__all__ = ["UnitrackStore"]

_LATEST = ["last_update_time DESC"]
_DEFAULT = "0"  # what MLflow calls the experiment nobody chose: here the configured project
_NAME, _PARENT, _HISTORY = "mlflow.runName", "mlflow.parentRunId", "mlflow.log-model.history"
_CONTEXT = "mlflow.data.context"


# -- what a journal can't do ---------------------------------------------------------------------

_REFUSED = {
    "deleting": (
        "delete_experiment", "delete_run", "restore_experiment", "restore_run", "delete_logged_model",
        "hard_delete_run",
    ),
    "renaming or tagging an experiment": ("rename_experiment", "set_experiment_tag", "delete_experiment_tag"),
    "traces": (
        "start_trace", "delete_traces", "get_trace_info", "get_trace", "search_traces", "set_trace_tag",
        "delete_trace_tag", "link_traces_to_run", "unlink_traces_from_run", "log_spans", "batch_get_traces",
        "get_assessment", "create_assessment", "update_assessment", "delete_assessment", "query_trace_metrics",
        "link_prompts_to_trace", "calculate_trace_filter_correlation",
    ),
    "evaluation data and scorers": (
        "create_dataset", "get_dataset", "delete_dataset", "search_datasets", "upsert_dataset_records",
        "register_scorer", "list_scorers", "get_scorer", "list_scorer_versions", "delete_scorer",
    ),
}  # fmt: skip


def _unsupported(what: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(
        f"a unitrack store doesn't hold {what}: it keeps what runs log. Use an MLflow server for it, "
        "and `unitrack sync` to send the runs there"
    )


def _refusal(name: str, what: str) -> Callable[..., Any]:
    def refuse(self: Any, *_args: Any, **_options: Any) -> Any:
        raise _unsupported(f"{what} ({name})")

    refuse.__name__ = name
    return refuse


_Refusals = type("_Refusals", (), {name: _refusal(name, what) for what, names in _REFUSED.items() for name in names})


# -- what it can ---------------------------------------------------------------------------------


class UnitrackStore(LoggedModels, _Refusals, AbstractStore):  # type: ignore[misc, valid-type]  # MLflow is not typed
    """Runs under MLflow's calls. A run's id is unitrack's, an experiment is a project and its name its id.

    Times, steps and values are kept as given. Thread-safe, any number of runs at once. What a
    journal can't do (delete, traces, evaluation data) is an MlflowException that says so.
    """

    def __init__(self, store_uri: str) -> None:
        super().__init__()
        self.writers = writers(root_of(store_uri))
        self._made: dict[str, None] = {}  # experiments without a run yet

    # -- experiments -----------------------------------------------------------------------------

    def _experiments(self) -> dict[str, Experiment]:
        times: dict[str, tuple[float, float]] = {}
        for row in open_store(self.writers.root).rows():
            first, last = times.get(row.project, (row.started, 0.0))
            times[row.project] = (min(first, row.started), max(last, row.ended or row.started))
        names = [*times, *(name for name in self._made if name not in times)]
        return {name: experiment_of(name, self.writers.uri, times.get(name, (0, 0))) for name in names}

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = SEARCH_MAX_RESULTS_DEFAULT,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Experiment]:
        """Return the projects that fit; none is ever deleted."""
        known = [] if view_type == ViewType.DELETED_ONLY else list(self._experiments().values())
        found = SearchExperimentsUtils.sort(SearchExperimentsUtils.filter(known, filter_string), order_by or _LATEST)
        return PagedList(*SearchUtils.paginate(found, page_token, max_results))

    def create_experiment(self, name: str, artifact_location: str | None = None, tags: Any = None) -> str:
        """Return the name, which is the id; artifacts stay in the store. Raises MlflowException for tags."""
        if artifact_location is not None or tags:
            raise _unsupported("an artifact_location or tags of an experiment")
        self._made[name] = None
        return name

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return the project of that id; `0` is the configured one."""
        name = self._project(experiment_id)
        return self._experiments().get(name) or experiment_of(name, self.writers.uri)

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """Return a project that has runs or was created in this process, else None."""
        return self._experiments().get(experiment_name)

    def _project(self, experiment_id: str) -> str:
        if str(experiment_id) != _DEFAULT:
            return str(experiment_id)
        settings = load_settings()
        return settings.project if settings.sources.get("project", "default") != "default" else settings.root.name

    # -- runs ------------------------------------------------------------------------------------

    def create_run(
        self, experiment_id: str, user_id: str, start_time: int | None, tags: Sequence[RunTag], run_name: str | None
    ) -> Run:
        """Begin a run; it is nested if its tags name a parent."""
        told = {tag.key: tag.value for tag in tags or ()}
        name = run_name or told.get(_NAME) or _generate_random_name()
        about = {"user_id": user_id or "", "start_time": start_time}
        run = self.writers.begin(self._project(experiment_id), name, told.get(_PARENT), about)
        _set_tags(run, {key: value for key, value in told.items() if key not in (_NAME, _PARENT)})
        return self.get_run(run.id)

    def get_run(self, run_id: str) -> Run:
        """Return a run as it is now. Raises MlflowException if there is none."""
        return run_of(self.writers.view(run_id), self.writers.uri)

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """End a run, let it run again, or give it another name."""
        if run_name:
            self.writers.run(run_id).rename(run_name)
        if run_status is not None:
            status = RunStatus.to_string(run_status)
            if RunStatus.is_terminated(run_status):
                if end_time is not None:
                    self.writers.run(run_id).capture(RUN, {"end_time": end_time})
                self.writers.end(run_id, status)
            else:
                self.writers.resume(run_id).capture(RUN, {"end_time": None})
        return self.get_run(run_id).info

    def _search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int,
        order_by: list[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        projects = [self._project(experiment_id) for experiment_id in experiment_ids]
        views = unitrack.runs(project=projects, dir=self.writers.root) if projects else []
        known = [] if run_view_type == ViewType.DELETED_ONLY else [run_of(view, self.writers.uri) for view in views]
        found = SearchUtils.sort(SearchUtils.filter(known, filter_string), order_by)
        page: tuple[list[Run], str | None] = SearchUtils.paginate(found, page_token, max_results)
        return page

    def get_metric_history(
        self, run_id: str, metric_key: str, max_results: int | None = None, page_token: str | None = None
    ) -> PagedList[Metric]:
        """Return all points of a metric; none if there is no such metric."""
        view: RunView = self.writers.view(run_id)
        return PagedList([point for point in points_of(view) if point.key == metric_key], None)

    # -- logging ---------------------------------------------------------------------------------

    def log_batch(self, run_id: str, metrics: Iterable[Metric], params: Iterable[Any], tags: Iterable[RunTag]) -> None:
        """Log points with the times and steps they carry, params and tags. A changed param is an MlflowException."""
        run = self.writers.run(run_id)
        fresh = {param.key: param.value for param in params}
        known = self.writers.params(run_id) if fresh else {}
        for key, value in fresh.items():
            if key in known and str(known[key]) != str(value):
                raise MlflowException.invalid_parameter_value(
                    f"Changing param values is not allowed. Param with key={key!r} was already logged with "
                    f"value={known[key]!r} for run ID={run_id!r}. Attempted logging new value {value!r}."
                )
        if any(key not in known for key in fresh):
            run.config.update(fresh)
        _log_points(run, metrics)
        _set_tags(run, {tag.key: tag.value for tag in tags})

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set a tag."""
        _set_tags(self.writers.run(run_id), {tag.key: tag.value})

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag off."""
        self.writers.run(run_id).remove_tags(key)

    def log_inputs(self, run_id: str, datasets: Any = None, models: Any = None) -> None:
        """Name the data a run reads; of models it reads, the ids are kept as tags."""
        run = self.writers.run(run_id)
        for given in datasets or ():
            _log_dataset(run, given)
        for model in models or ():
            run.set_tags(**{f"mlflow.model_input.{model.model_id}": "true"})

    def record_logged_model(self, run_id: str, mlflow_model: Any) -> None:
        """Note a model in the run's tag, as MLflow's own stores do."""
        earlier = self.writers.view(run_id).tag_values.get(_HISTORY, "[]")
        history = json.dumps([*json.loads(earlier), mlflow_model.get_tags_dict()])
        _set_tags(self.writers.run(run_id), {_HISTORY: history})


def _log_points(run: unitrack.Run, metrics: Iterable[Metric]) -> None:
    """Log points of one time and step together, in the order they came."""
    group: dict[str, float] = {}
    at: tuple[int, int] | None = None
    for metric in metrics:
        place = (metric.timestamp, metric.step)
        if group and (place != at or metric.key in group):
            run.log_at(at[0] / 1000, group, at[1])  # type: ignore[index]  # set with the group
            group = {}
        at = place
        group[metric.key] = metric.value
    if group and at is not None:
        run.log_at(at[0] / 1000, group, at[1])


def _set_tags(run: unitrack.Run, tags: dict[str, Any]) -> None:
    named = {key: str(value) for key, value in tags.items() if key not in (_NAME, _PARENT)}
    if named:
        run.set_tags(**named)
    if tags.get(_NAME) and tags[_NAME] != run.name:
        run.rename(str(tags[_NAME]))


def _log_dataset(run: unitrack.Run, given: Any) -> None:
    dataset = given.dataset
    try:
        source = json.loads(dataset.source)
    except ValueError:
        source = {}
    uri = str(source.get("uri") or source.get("url") or source.get("path") or "") if isinstance(source, dict) else ""
    if "://" not in uri:
        uri = f"file://{uri}" if uri else f"mlflow-{dataset.source_type}://{dataset.name}"
    about = {
        "source_type": dataset.source_type, "source": dataset.source, "schema": dataset.schema,
        "profile": dataset.profile,
    }  # fmt: skip
    split = next((tag.value for tag in given.tags or () if tag.key == _CONTEXT), None)
    known = {key: value for key, value in about.items() if value}
    run.log_dataset(uri, name=dataset.name, digest=dataset.digest, split=split, metadata=known)
