"""Hypothesis strategies: names, values, steps, and whole runs as steps of a `RunBuilder`."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from unitrack.testing.runs import png

__all__ = ["Step", "metric_names", "metric_values", "param_trees", "run_steps", "steps"]

Step = tuple[str, tuple[Any, ...]]
"""A method of `RunBuilder`, and its arguments."""

_ODD = "ab/._- :@()[]=,%äß学🙂\\\"'\n\t#"


def metric_names() -> st.SearchStrategy[str]:
    """Names as people write them, and as nobody should; few enough to meet again."""
    usual = st.sampled_from(["loss", "val/loss", "accuracy", "mAP@50", "lr", "a b", "a_b", "Loss"])
    return st.one_of(
        usual, usual, st.text(_ODD, max_size=8), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    )


def metric_values() -> st.SearchStrategy[float]:
    """Any float, NaN and infinities included, any 64-bit integer, booleans."""
    return st.one_of(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.just(math.nan))


def steps() -> st.SearchStrategy[float | None]:
    """No step, small integers in any order, fractions, very large and negative ones."""
    return st.one_of(
        st.integers(0, 12), st.integers(0, 12), st.none(), st.sampled_from([0.5, 1.25, -1, -2.5, 2**40, 2**60])
    )


def param_trees() -> st.SearchStrategy[dict[str, Any]]:
    """Nested params of plain values."""
    leaf = st.one_of(st.integers(-(2**60), 2**60), st.floats(), st.booleans(), st.text(max_size=12), st.none())
    names = st.sampled_from(["lr", "depth", "model", "opt", "mAP@50", "n e"])
    return st.dictionaries(names, st.one_of(leaf, st.dictionaries(names, leaf, min_size=1, max_size=3)), max_size=4)


def run_steps() -> st.SearchStrategy[list[Step]]:
    """What a run may log, in order."""
    tags = st.lists(st.sampled_from(["red", "green", "blue"]), max_size=2, unique=True)
    step = st.one_of(
        _step("log", st.dictionaries(metric_names(), metric_values(), min_size=1, max_size=4), steps()),
        _step("log", st.dictionaries(metric_names(), metric_values(), min_size=1, max_size=4), st.integers(0, 12)),
        _step("params", param_trees()),
        _step("tags", tags, tags),
        _step("artifact", st.sampled_from(["a.bin", "b/c.txt", "ö.bin"]), st.binary(min_size=24, max_size=24)),
        _step("image", st.sampled_from(["shot", "val/shot"]), st.integers(0, 255).map(png), st.integers(0, 3)),
    )
    return st.lists(step, max_size=12)


def _step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments))
