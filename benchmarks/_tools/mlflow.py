"""MLflow with its SQLite store, each call waiting for it."""

from __future__ import annotations

import os
from pathlib import Path

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}

import mlflow
from mlflow import MlflowClient


class Adapter:
    """`mlflow.log_metrics` with the whole dict."""

    synchronous = True

    def start(self, folder: Path) -> None:
        mlflow.set_tracking_uri(_uri(folder))
        client = MlflowClient()
        experiment = client.create_experiment("benchmark", artifact_location=(folder / "artifacts").as_uri())
        mlflow.start_run(experiment_id=experiment)

    def log(self, values: dict[str, float], *, step: int) -> None:
        mlflow.log_metrics(values, step=step, synchronous=self.synchronous)

    def finish(self) -> None:
        if not self.synchronous:
            mlflow.flush_async_logging()
        mlflow.end_run()

    def count_left(self, folder: Path) -> int:
        client = MlflowClient(_uri(folder))
        experiment = client.get_experiment_by_name("benchmark")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        return sum(len(client.get_metric_history(run.info.run_id, "loss")) for run in runs)


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"
