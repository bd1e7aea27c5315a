"""What a run is called and asks for, its dict-like parts, and checks and flattening of what is logged."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from unitrack.errors import UnitrackWarning, UsageError
from unitrack.events import FinalStatus, Known, Metric
from unitrack.model import Spell, metric_name, metric_value, number, plain, text

if TYPE_CHECKING:
    from unitrack._run_datasets import Version
    from unitrack.run import Run

__all__ = [
    "ConfigMapping", "Found", "RunSpec", "Services", "SummaryMapping", "flatten_metrics", "metric_values", "one_of",
    "outcome_of", "processed", "tag_words", "text_or_none", "timed", "warn_of_skipped",
]  # fmt: skip

_Log = Callable[[dict[str, Any]], None]


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is called and where it belongs."""

    id: str
    project: str
    store: Path
    name: str | None = None
    group: str | None = None
    parent: str | None = None
    tags: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact another run logged."""

    name: str
    kind: str
    digest: str
    size: int | None
    tree: bool
    origin: str  # what was asked for, resolved: `run/artifact` or `model:version`


class Services(Protocol):
    """What a run asks of the layers above it, handed in by the session."""

    def find_artifact(self, reference: str) -> Found:
        """Resolve `RUN/NAME` or `NAME` (the newest in the project); raise UsageError."""
        ...

    def find_model(self, reference: str) -> Found:
        """Resolve `NAME@ALIAS` or `NAME:VERSION`; raise RegistryError."""
        ...

    def to_json(self, value: object) -> Any:
        """Return a JSON-safe tree for a value of a type nobody here knows, or None."""
        ...

    def dataset_version(self, uri: str) -> Version | None:
        """Return the version of data that some system keeps, or None."""
        ...

    def redact(self, words: str) -> str:
        """Return a text without the credentials in it."""
        ...

    def redacted_tree(self, values: Any) -> Any:
        """Return a plain tree without the credentials in its texts, and without the values of keys that name one."""
        ...

    def finished(self, run: Run, status: FinalStatus, timeout: float | None) -> None:
        """Take note that the journal is about to be sealed (`closing`) and let go of the run."""
        ...

    def closing(self, run: Run) -> None:
        """Hand in what still belongs into the journal."""
        ...

    def attach(self) -> Callable[[str, str], Run]:
        """Return a picklable function of (store, id) that joins the run from another process."""
        ...


class ConfigMapping(MutableMapping[str, Any]):
    """Parameters as a dict whose changes are logged: `run.config["lr"] = 0.1`, `run.config.update(...)`.

    Values read back as they were given. Nested dicts are read as attributes too: `run.config.optimizer`.
    """

    def __init__(self, log: _Log, values: Mapping[str, Any], spell: Spell | None = None) -> None:
        self.__dict__["_log"] = log
        self.__dict__["_spell"] = spell
        self.__dict__["_values"] = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_values"][key]
        except KeyError:
            raise AttributeError(f"the run's config has no {key!r}") from None

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __setattr__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __delitem__(self, key: str) -> None:
        raise TypeError("a logged parameter can't be deleted; set it to None")

    def update(self, other: Any = (), /, **values: Any) -> None:
        """Log several parameters as one event."""
        fresh = {**_mapping(other), **values}
        if fresh:
            self._log(plain(fresh, spell=self._spell))
            self._values.update(fresh)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        # A copy, in a checkpoint say, is a plain dict: nobody's later change of it is the run's.
        return dict, (self._values,)


class SummaryMapping(ConfigMapping):
    """Summary values as a dict whose changes are logged."""

    def __init__(self, log: _Log) -> None:
        super().__init__(log, {})


def _mapping(values: Any) -> dict[str, Any]:
    """Return a dict of a mapping, pairs, a dataclass, a Namespace or their like."""
    if isinstance(values, Mapping):
        return dict(values)
    fields = plain(values)
    if isinstance(fields, dict):
        return fields
    try:
        return dict(values)
    except (TypeError, ValueError):
        raise TypeError(f"parameters are given as a dict, not {type(values).__name__}") from None


def flatten_metrics(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (name, value) of a dict, nested ones joined by `/`. Raises TypeError, and UsageError for a cycle."""
    if not isinstance(values, Mapping):
        raise TypeError(
            f"log() takes a dict of names and values, not {type(values).__name__}: run.log({{'loss': 0.1}})"
        )
    yield from _flatten(values, "", (id(values),))


def _flatten(values: Mapping[Any, Any], prefix: str, parents: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    for key, value in values.items():
        name = f"{prefix}{metric_name(key)}" if prefix else key
        if isinstance(value, Mapping):
            if id(value) in parents or len(parents) > 64:
                raise UsageError(f"the dict logged as {name!r:.80} contains itself")
            yield from _flatten(value, f"{metric_name(name)}/", (*parents, id(value)))
        else:
            yield name, value


def metric_values(values: Any) -> dict[str, Metric]:
    """Return the numbers of a dict, nested ones joined by `/`, as the journal holds them. Raises TypeError."""
    names = ((metric_name(name), value) for name, value in flatten_metrics(values))
    return {name: metric_value(value, what=f"the value of {name!r}") for name, value in names}


def timed(kind: Callable[..., Known], time: float) -> Callable[..., Known]:
    """Return a maker of events of a `kind` whose time is given, not that of the call. Raises UsageError."""
    at = float(number(time, what="time"))
    if not math.isfinite(at):
        raise UsageError(f"a time is finite epoch seconds, not {time!r:.80}")
    return lambda seq, _now, *args, **fields: kind(seq, at, *args, **fields)


def processed(event: Known, processors: Iterable[Any], lose: Callable[[BaseException], object]) -> Any:
    """Return what the processors, in order, make of an event; None if one drops it or fails on it."""
    kept: Any = event
    for processor in processors:
        try:
            kept = processor(kept)
        except Exception as error:  # a plugin's fault costs its event, not the training
            lose(error)
            return None
        if kept is None:
            return None
    return kept


def tag_words(tags: Iterable[str | Iterable[str]]) -> list[str]:
    """Return the tags of a call, given one by one or as lists. Raises TypeError."""
    words: list[str] = []
    for tag in tags:
        words += [tag] if isinstance(tag, str) else list(tag)
    if not all(isinstance(word, str) and word for word in words):
        raise TypeError("tags are non-empty strings")
    return [text(word) for word in words]


def text_or_none(value: str | None) -> str | None:
    """Return a text that UTF-8 holds, or None. Raises TypeError."""
    return None if value is None else text(value)


def one_of(what: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise UsageError unless `value` is None or one of `allowed`."""
    if value is not None and value not in allowed:
        raise UsageError(f"{what} is one of {', '.join(allowed)}, not {value!r:.80}")


def warn_of_skipped(name: str, skipped: Sequence[tuple[str, str]]) -> None:
    """Tell once which of a folder's files are not in the artifact."""
    if skipped:
        path, reason = skipped[0]
        more = f" and {len(skipped) - 1} more" if len(skipped) > 1 else ""
        warnings.warn(
            f"artifact {name!r} is kept without {path!r} ({reason}){more}; its manifest lists what is left out",
            UnitrackWarning,
            stacklevel=4,
        )


def outcome_of(error: BaseException | None) -> tuple[FinalStatus, str | None]:
    """Return the status and reason that code left by `error` ends a run with."""
    if error is None or isinstance(error, SystemExit) and error.code in (None, 0):
        return "finished", None
    if isinstance(error, KeyboardInterrupt):
        return "killed", "interrupted"
    return "failed", f"{type(error).__name__}: {error}"
