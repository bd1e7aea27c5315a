"""MLflow's logging calls on a run of ours. One function a call: the module and its client share them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from unitrack import media
from unitrack.compat._support import files_below, refuse
from unitrack.compat.mlflow._data import Dataset
from unitrack.errors import UsageError
from unitrack.model import check_artifact_name, plain
from unitrack.run import Run

__all__ = [
    "delete_tag", "log_artifact", "log_artifacts", "log_dict", "log_figure", "log_image", "log_input", "log_metrics",
    "log_params", "log_table", "log_text", "set_tags",
]  # fmt: skip


def log_metrics(run: Run, metrics: Mapping[str, Any], step: float | None, timestamp: float | None) -> None:
    """Log numbers of one step; `timestamp` is in milliseconds."""
    if timestamp is None:
        run.log(metrics, step)
    else:
        run.log_at(timestamp / 1000, metrics, step)


def log_params(run: Run, params: Mapping[str, Any]) -> None:
    """Log parameters, in the types they have."""
    run.config.update(params)


def set_tags(run: Run, tags: Mapping[str, Any]) -> None:
    """Set tags; the run's name is one of them in MLflow."""
    for key, value in tags.items():
        if key == "mlflow.runName":
            run.rename(str(value))
        else:
            run.set_tags(**{key: str(value)})


def delete_tag(run: Run, key: str) -> None:
    """Take a tag off."""
    run.remove_tags(key)


# -- files ---------------------------------------------------------------------------------------


def log_artifact(run: Run, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Keep a file, or all files of a folder under the folder's name."""
    path = Path(local_path)
    if path.is_dir():
        log_artifacts(run, path, "/".join(word for word in (artifact_path, path.resolve().name) if word))
    else:
        run.log_artifact(path, name="/".join(word for word in (artifact_path, path.name) if word))


def log_artifacts(run: Run, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
    """Keep each file of a folder under its path, as MLflow does."""
    if not Path(local_dir).is_dir():
        raise UsageError(f"there is no folder {os.fspath(local_dir)!r} to log")
    for name, path in files_below(local_dir):
        run.log_artifact(path, name="/".join(word for word in (artifact_path, name) if word))


def _written(run: Run, artifact_file: str, write: Callable[[str], object]) -> None:
    """Keep what `write` puts into a file."""
    name = check_artifact_name(artifact_file)
    try:
        with tempfile.TemporaryDirectory(prefix="unitrack-") as folder:
            path = Path(folder) / name.rpartition("/")[2]
            write(str(path))
            run.log_artifact(path, name=name)
    except OSError as error:  # a full disk costs the file, not the training
        run._writer.lose(error)


def log_text(run: Run, text: str, artifact_file: str) -> None:
    """Keep text as a file."""
    _written(run, artifact_file, lambda path: Path(path).write_text(text, encoding="utf-8"))


def log_dict(run: Run, dictionary: Any, artifact_file: str) -> None:
    """Keep a dict as a JSON file; YAML needs PyYAML, as MLflow has it."""
    if artifact_file.endswith((".yml", ".yaml")):
        try:
            import yaml  # type: ignore[import-untyped, unused-ignore]  # only where it is installed
        except ImportError:
            raise refuse("mlflow.log_dict of YAML without PyYAML", "install PyYAML or name a .json file") from None
        text = yaml.safe_dump(plain(dictionary), sort_keys=False, allow_unicode=True)
    else:
        text = json.dumps(plain(dictionary), indent=2, ensure_ascii=False)
    log_text(run, text, artifact_file)


def log_figure(run: Run, figure: Any, artifact_file: str, save_kwargs: Mapping[str, Any] | None = None) -> None:
    """Keep a matplotlib or plotly figure as the file that its name asks for."""
    options = dict(save_kwargs or {})
    if hasattr(figure, "savefig"):
        _written(run, artifact_file, lambda path: figure.savefig(path, **options))
    elif hasattr(figure, "write_html"):
        save = figure.write_html if artifact_file.endswith(".html") else figure.write_image
        _written(run, artifact_file, lambda path: save(path, **options))
    else:
        raise TypeError(f"a figure is matplotlib's or plotly's, not {type(figure).__name__}")


def log_image(
    run: Run, image: Any, artifact_file: str | None = None, key: str | None = None, step: float | None = None
) -> None:
    """Show an image at a step under `key`, or keep it as a file."""
    if (artifact_file is None) == (key is None):
        raise TypeError("log_image takes either artifact_file or key")
    image = image.to_pil() if hasattr(image, "to_pil") else image
    if key is not None:
        run.log_image(key, image, step=step)
        return
    encoded = media.encode(image, kind="image")
    data = encoded.data if encoded.data is not None else Path(str(encoded.path)).read_bytes()
    _written(run, str(artifact_file), lambda path: Path(path).write_bytes(data))


def log_table(run: Run, data: Any, artifact_file: str) -> None:
    """Show a table: a frame, or a dict of columns. Each call is a table of its own."""
    if isinstance(data, Mapping):
        columns = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in data.items()}
        data = media.Table(columns=list(columns), rows=list(zip(*columns.values(), strict=True)))
    run.log_table(artifact_file, data)


def log_input(run: Run, dataset: Any, context: str | None, tags: Mapping[str, str] | None) -> None:
    """Name the data a run reads."""
    if not isinstance(dataset, Dataset):
        dataset = Dataset(dataset, name=getattr(dataset, "name", None))
    about: dict[str, Any] = {**(tags or {}), **({"source": dataset.source} if dataset.source else {})}
    run.log_dataset(dataset.data, name=dataset.name, split=context, digest=dataset.digest, metadata=about)


def log_batch(run: Run, metrics: Iterable[Any] = (), params: Iterable[Any] = (), tags: Iterable[Any] = ()) -> None:
    """Log entities."""
    for metric in metrics:
        log_metrics(run, {metric.key: metric.value}, metric.step, metric.timestamp)
    given = {param.key: param.value for param in params}
    if given:
        log_params(run, given)
    set_tags(run, {tag.key: tag.value for tag in tags})
