"""`define_metric`: exact names at once, globs when a name they fit is first logged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from unitrack.compat._support import Warned
from unitrack.run import Run

__all__ = ["Definition", "Definitions"]

_SUMMARIES = ("last", "min", "max", "mean", "first", "none")


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a metric, or of all that begin with `name` up to its `*`."""

    name: str
    step: str | None = None
    goal: Any = None
    summary: Any = None


class Definitions:
    """The definitions of one run."""

    def __init__(self, run: Run, warned: Warned) -> None:
        self._run, self._warned = run, warned
        self._globs: list[Definition] = []
        self._seen: set[str] = set()

    def define(self, name: str, step: str | None, summary: str | None, goal: str | None) -> Definition:
        """Take a definition. Raises ValueError for a `*` that isn't at the end, and for words it doesn't know."""
        if "*" in name[:-1]:
            raise ValueError(f"a metric's name may end in '*', nowhere else: {name!r}")
        if goal not in (None, "maximize", "minimize"):
            raise ValueError(f"goal is maximize or minimize, not {goal!r}")
        found = Definition(name=name, step=step, goal=goal, summary=self._summary(name, summary, goal))
        if name.endswith("*"):
            self._globs.insert(0, found)  # a later one has the first word
            self._seen = {seen for seen in self._seen if not seen.startswith(name[:-1])}
        else:
            self._seen.add(name)
            self._write(name, found)
        return found

    def _summary(self, name: str, words: str | None, goal: str | None) -> str | None:
        """Return the one summary that unitrack keeps; `best` is the one its goal asks for."""
        if not words:
            return None
        asked = [word.strip() for word in words.split(",")]
        if len(asked) > 1:
            self._warned.say(f"wandb.define_metric({name!r}): of several summaries the first, {asked[0]}, counts")
        word = {"best": "min" if goal == "minimize" else "max", "copy": "last"}.get(asked[0], asked[0])
        if word not in _SUMMARIES:
            raise ValueError(f"summary is one of min, max, mean, best, last, first, copy, none, not {asked[0]!r}")
        return word

    def define_new(self, names: Iterable[str]) -> None:
        """Write the definition that fits each name logged for the first time."""
        for name in names:
            if name not in self._seen:
                self._seen.add(name)
                fitting = (each for each in self._globs if name.startswith(each.name[:-1]) and name != each.step)
                found = next(fitting, None)
                if found is not None:
                    self._write(name, found)

    def _write(self, name: str, found: Definition) -> None:
        self._run.define_metric(name, goal=found.goal, summary=found.summary, step=found.step)
