"""Take columns of labels and numbers out of lists, arrays, tensors and frames, without importing their packages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

from unitrack.model import text

__all__ = ["Label", "labels", "matrix", "words"]

Label = Union[int, float, str, bool]

_PLAIN = frozenset({int, float, str, bool})
_MISSING = frozenset({"NaTType", "NAType"})  # pandas' words for no value


def labels(values: Any, *, what: str) -> list[Label]:
    """Return a column of numbers, truth values or texts. Raises TypeError naming `what` and the row."""
    return _each(_listed(values, what), _label, what)


def matrix(values: Any, *, what: str) -> list[float | list[float]]:
    """Return a column of numbers, or one of rows of numbers. Raises TypeError."""
    return _each(_listed(values, what), _score, what)


def words(values: Any, *, what: str) -> list[str | None]:
    """Return a column of texts, None where there is no value. Raises TypeError."""
    return _each(_listed(values, what), _word, what)


def _listed(values: Any, what: str) -> list[Any]:
    if hasattr(values, "detach"):  # a tensor: off its graph and its device
        values = values.detach().cpu()
    if hasattr(values, "to_numpy") and getattr(values, "ndim", 1) == 2 or hasattr(values, "iter_rows"):  # a frame
        values = values.to_numpy()
    for method in ("tolist", "to_list"):
        if callable(getattr(values, method, None)):
            values = getattr(values, method)()
            break
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{what} must be a column of values, not {type(values).__name__}")
    return list(values)


def _each(cells: list[Any], convert: Callable[[Any], Any], what: str) -> list[Any]:
    kinds = set(map(type, cells))
    if convert is _label and kinds <= _PLAIN - {str} or convert is _score and kinds == {float}:
        return cells
    try:
        return [convert(cell) for cell in cells]
    except TypeError as error:
        row = next(index for index, cell in enumerate(cells) if _fails(convert, cell))
        raise TypeError(f"{what}: row {row} {error}") from None


def _fails(convert: Callable[[Any], Any], cell: Any) -> bool:
    try:
        convert(cell)
    except TypeError:
        return True
    return False


def _label(cell: Any) -> Label:
    if type(cell) not in _PLAIN and callable(getattr(cell, "item", None)):
        cell = cell.item()
    if isinstance(cell, str):
        return text(str(cell))
    if isinstance(cell, (bool, int, float)):
        return cell if type(cell) in _PLAIN else int(cell) if isinstance(cell, int) else float(cell)
    raise TypeError(f"holds {type(cell).__name__}, not a number, a truth value or a text")


def _score(cell: Any) -> float | list[float]:
    if type(cell) is float:
        return cell
    if hasattr(cell, "detach") or callable(getattr(cell, "tolist", None)):
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return [_number(number) for number in cell]
    return _number(cell)


def _number(cell: Any) -> float:
    label = _label(cell)
    if isinstance(label, str):
        raise TypeError(f"holds the text {label!r:.40}, not a number")
    return float(label)


def _word(cell: Any) -> str | None:
    if cell is None or type(cell).__name__ in _MISSING or (isinstance(cell, float) and math.isnan(cell)):
        return None
    return text(str(_label(cell)))
