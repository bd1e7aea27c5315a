"""What a model said of each example of a data set, as a file: columns of JSON, compressed, without pickle.

    {"format": "unitrack-predictions", "version": 1, "ids": [...], "y_true": [...], "y_pred": [...] or null,
     "scores": [...] or null, "classes": [...] or null, "slices": {"column": [...]}, "split": "test" or null}

Equal predictions make equal JSON. Whoever reads such a file takes it as a stranger's: it is bounded, and checked
by the same rules as when it was written.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Union

import msgspec

from unitrack.errors import UnitrackError, UsageError
from unitrack.media import _cells
from unitrack.media._cells import Label
from unitrack.model import text

__all__ = ["KIND", "LARGEST", "Predictions", "about", "artifact_name", "collect", "pack", "unpack"]

KIND: Final = "predictions"
"""The kind of the artifact that holds predictions."""

LARGEST: Final = 256 << 20
"""Bytes of JSON beyond which predictions are neither written nor read."""

_ENDING = ".json.gz"
_LEVEL = 1  # numbers hardly shrink more at higher ones


class Predictions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row an example. `ids` are all int or all str, each once.

    `scores` hold a number an example (of the second of two `classes`), or a row of one number for each of the
    `classes`. `slices` are columns of texts that group examples; None: in no group.
    """

    format: Literal["unitrack-predictions"] = "unitrack-predictions"
    version: Literal[1] = 1
    ids: list[Union[int, str]]
    y_true: list[Label]
    y_pred: Union[list[Label], None] = None
    scores: Union[list[Union[float, list[float]]], None] = None
    classes: Union[list[Label], None] = None
    slices: dict[str, list[Union[str, None]]] = {}
    split: Union[str, None] = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        columns = ", ".join(name for name in ("y_pred", "scores") if getattr(self, name) is not None)
        return f"<Predictions of {len(self)} examples: {columns}>"


def artifact_name(name: str) -> str:
    """Return the name under which a run keeps the predictions called `name`."""
    return name + _ENDING


# -- writing -------------------------------------------------------------------------------------


def collect(
    ids: Any,
    y_true: Any,
    y_pred: Any = None,
    scores: Any = None,
    *,
    classes: Any = None,
    slices: Mapping[str, Any] | None = None,
    split: str | None = None,
) -> Predictions:
    """Return predictions from columns of any kind. Raises TypeError and UsageError, which name column and row."""
    if slices is not None and not isinstance(slices, Mapping):
        raise TypeError(f"slices are a dict of columns, not {type(slices).__name__}")
    rows = None if scores is None else _cells.matrix(scores, what="scores")
    truth = _cells.labels(y_true, what="y_true")
    found = Predictions(
        ids=_cells.labels(ids, what="ids"),  # type: ignore[arg-type]  # `_check` refuses other ids
        y_true=truth,
        y_pred=None if y_pred is None else _cells.labels(y_pred, what="y_pred"),
        scores=rows,
        classes=_default_classes(truth, rows) if classes is None else _cells.labels(classes, what="classes"),
        slices={_column(name): _cells.words(cells, what=f"slice {name!r}") for name, cells in (slices or {}).items()},
        split=None if split is None else text(split),
    )
    _check(found)
    return found


def _column(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise TypeError(f"a slice column is named by a text, not {name!r:.80}")
    return text(name)


def _default_classes(truth: Sequence[Label], rows: Sequence[float | list[float]] | None) -> list[Label] | None:
    """Return the classes that need no telling: 0 and 1, -1 and 1, or 0 to k - 1 for k columns of scores."""
    if not rows:
        return None
    if isinstance(rows[0], list):
        return list(range(len(rows[0])))
    return [-1, 1] if -1 in truth else [0, 1]


def pack(predictions: Predictions) -> bytes:
    """Return the file. Raises UsageError if it would be larger than anyone reads."""
    data = msgspec.json.encode(predictions)
    if len(data) > LARGEST:
        raise UsageError(f"{len(predictions):,} predictions take {len(data):,} bytes: log at most {LARGEST:,}")
    return gzip.compress(data, compresslevel=_LEVEL, mtime=0)


def about(predictions: Predictions) -> dict[str, Any]:
    """Return what an artifact's metadata tells of predictions."""
    columns = [name for name in ("y_pred", "scores") if getattr(predictions, name) is not None]
    return {
        "rows": len(predictions),
        "columns": columns,
        "slices": list(predictions.slices),
        **({} if predictions.split is None else {"split": predictions.split}),
    }


# -- reading -------------------------------------------------------------------------------------


def unpack(data: bytes, *, source: str) -> Predictions:
    """Return the predictions in a file. Raises UnitrackError naming `source` if it holds anything else."""
    try:
        found = msgspec.json.decode(_decompressed(data), type=Predictions)
        _check(found)
    except (zlib.error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError) as error:
        raise UnitrackError(f"{source}: no predictions: {error}") from error
    return found


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    plain = stream.decompress(data, LARGEST + 1)
    if len(plain) > LARGEST:
        raise UsageError(f"more than {LARGEST:,} bytes of JSON")
    if not stream.eof:
        raise UsageError("the file is cut short")
    return plain


# -- the rules -----------------------------------------------------------------------------------


def _check(found: Predictions) -> None:
    """Raise UsageError for columns that don't fit together."""
    if not found.ids:
        raise UsageError("there are no examples")
    if found.y_pred is None and found.scores is None:
        raise UsageError("there is nothing but the truth: give y_pred, scores or both")
    columns = {"y_true": found.y_true, "y_pred": found.y_pred, "scores": found.scores}
    named = {**columns, **{f"slice {name!r}": cells for name, cells in found.slices.items()}}
    for name, cells in named.items():
        if cells is not None and len(cells) != len(found.ids):
            raise UsageError(f"{name} has {len(cells)} rows for {len(found.ids)} ids")
    _check_ids(found.ids)
    _check_labels("y_true", found.y_true)
    if found.y_pred is not None:
        _check_labels("y_pred", found.y_pred)
        if isinstance(found.y_pred[0], str) != isinstance(found.y_true[0], str):
            raise UsageError("of y_true and y_pred one holds texts, the other numbers: log both in the same terms")
    if found.classes is not None:
        _check_classes(found.y_true, found.classes)
    if found.scores is not None:
        _check_scores(found.scores, found.classes or ())


def _check_ids(ids: Sequence[int | str]) -> None:
    kinds = set(map(type, ids))
    if kinds not in ({int}, {str}):
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise UsageError(f"ids are all int or all str, not {names}")
    if int in kinds:
        _check_finite("ids", ids)  # type: ignore[arg-type]  # all int
    if len(set(ids)) != len(ids):
        seen: set[int | str] = set()
        twice = next(one for one in ids if one in seen or seen.add(one))  # type: ignore[func-returns-value]  # None
        raise UsageError(f"the id {twice!r:.80} stands for two examples: each needs one of its own")


def _check_labels(name: str, cells: Sequence[Label]) -> None:
    kinds = set(map(type, cells))
    if str in kinds and len(kinds) > 1:
        raise UsageError(f"{name} mixes texts and numbers")
    if str not in kinds:
        _check_finite(name, cells)  # type: ignore[arg-type]  # no texts


def _check_finite(name: str, cells: Sequence[float]) -> None:
    if not all(map(_is_finite, cells)):
        row, cell = next((row, cell) for row, cell in enumerate(cells) if not _is_finite(cell))
        raise UsageError(f"{name}: row {row} is {cell!r:.40}, no finite number")


def _is_finite(cell: float) -> bool:
    return math.isfinite(cell) if isinstance(cell, float) else -(2**63) <= cell < 2**63


def _check_classes(truth: Sequence[Label], classes: Sequence[Label]) -> None:
    if len(classes) < 2 or len(set(classes)) != len(classes):
        raise UsageError(f"classes are at least two labels, each once, not {list(classes)!r:.80}")
    _check_labels("classes", classes)
    unknown = set(truth) - set(classes)
    if unknown:
        some = ", ".join(sorted(map(repr, unknown))[:3])
        raise UsageError(f"y_true holds {some:.80}, not among the classes {list(classes)!r:.80}: give classes=[...]")


def _check_scores(rows: Sequence[float | list[float]], classes: Sequence[Label]) -> None:
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    if widths == {0}:
        _check_finite("scores", rows)  # type: ignore[arg-type]  # no lists, as just seen
        if len(classes) != 2:
            raise UsageError(f"one score an example tells two classes apart, not {len(classes)}")
        return
    if widths != {len(classes)}:
        shown = ", ".join(map(str, sorted(widths)))
        raise UsageError(f"scores have rows of {shown} numbers for {len(classes)} classes")
    for column in zip(*rows, strict=True):
        _check_finite("scores", column)
