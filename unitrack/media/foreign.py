"""Tell values of other packages by the names of their types, and take their numbers out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

__all__ = ["as_numpy", "data_kind", "foreign_kind", "is_array", "package_of"]

ForeignKind = Literal["pil", "matplotlib", "plotly", "pandas", "polars"]
DataKind = Literal["pandas", "polars", "arrow", "hugging face"]

_Kind = TypeVar("_Kind", bound=str)

_TYPES: dict[tuple[str, str], ForeignKind] = {
    ("PIL", "Image"): "pil",
    ("matplotlib", "Figure"): "matplotlib",
    ("plotly", "BaseFigure"): "plotly",
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
}
_DATA: dict[tuple[str, str], DataKind] = {
    ("pandas", "DataFrame"): "pandas",
    ("polars", "DataFrame"): "polars",
    ("pyarrow", "Table"): "arrow",
    ("pyarrow", "RecordBatch"): "arrow",
    ("datasets", "Dataset"): "hugging face",
}


def foreign_kind(value: object) -> ForeignKind | None:
    """Return which known type of another package that can be shown `value` is, subclasses included."""
    return _first(value, _TYPES)


def data_kind(value: object) -> DataKind | None:
    """Return which known type of data of another package `value` is, subclasses included."""
    return _first(value, _DATA)


def _first(value: object, types: Mapping[tuple[str, str], _Kind]) -> _Kind | None:
    names = ((package_of(base), base.__name__) for base in type(value).__mro__)
    return next((types[name] for name in names if name in types), None)


def package_of(kind: type) -> str:
    """Return the top package a type was made in."""
    return str(kind.__module__).partition(".")[0]


def is_array(value: object) -> bool:
    """Tell whether `value` looks like an array or tensor: it has a shape and a dtype."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def as_numpy(value: Any, *, what: str) -> Any:
    """Return an array or tensor as a numpy array, off its device and its graph. Raises TypeError."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not is_array(value):
        raise TypeError(f"{what} is no array or tensor but {type(value).__name__}")
    try:
        if package_of(type(value)) == "torch" or hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if str(value.dtype) == "torch.bfloat16" else value  # numpy has no bfloat16
            value = value.numpy()
        array = numpy.asarray(value)
    except (RuntimeError, ValueError) as error:
        raise TypeError(f"{what} can't be read as an array: {error}") from error
    return array.astype("float32") if array.dtype.name == "bfloat16" else array
