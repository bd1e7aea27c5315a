"""What a run's metrics come to, as W&B's client works it out while it logs. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from unitrack_wandb._plan import EVENT_KEY, MEDIA_KEY, Row, State

__all__ = ["Summarizer"]

_OWN = frozenset({EVENT_KEY, MEDIA_KEY})


class Summarizer:
    """Folds rows into the summary: the last value of each metric, or what its definition asks for.

    `state.statistics` holds [summary, count, first, min, max, total] of those that ask for more. What was set
    by hand wins.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._news: dict[str, str] = {}

    def define(self, key: str, summary: str | None) -> None:
        """Take note of what the summary of a metric is."""
        known = self._state.statistics.get(key)
        if summary in (None, "last"):
            self._state.statistics.pop(key, None)
        elif known is None or known[0] != summary:
            self._state.statistics[key] = [summary, 0, math.nan, math.nan, math.nan, 0.0]

    def add(self, rows: Iterable[Row]) -> None:
        """Fold rows in."""
        news, statistics = self._news, self._state.statistics
        for row in rows:
            news.update(row.values)
            if statistics:
                for key, text in row.values:
                    if key in statistics:
                        self._count(statistics[key], text)

    def _count(self, kept: list, text: str) -> None:  # type: ignore[type-arg]  # as the state holds it
        try:
            value = float({"true": "1", "false": "0"}.get(text, text))
        except ValueError:
            return  # no number: media
        if not kept[1]:
            kept[2] = kept[3] = kept[4] = value
        kept[3], kept[4] = _least(kept[3], value), -_least(-kept[4], -value)
        kept[1] += 1
        kept[5] += value

    def news(self) -> Mapping[str, str]:
        """Return what changed since the last call: key to JSON."""
        hidden = {*self._state.by_hand, *_OWN}
        told = {key: self._told(key, text) for key, text in self._news.items() if key not in hidden}
        self._news = {}
        return {key: text for key, text in told.items() if text is not None}

    def _told(self, key: str, text: str) -> str | None:
        kept = self._state.statistics.get(key)
        if kept is None or not kept[1]:
            return text
        summary, count, first, least, most, total = kept
        if summary == "none":
            return None
        value = {"first": first, "min": least, "max": most, "mean": total / count}[summary]
        return json.dumps({summary: value})


def _least(a: float, b: float) -> float:
    """Return the smaller number; NaN only if both are."""
    return b if a != a or b < a else a
