"""What trainings show on stderr while they run: a live table on a terminal, one plain line an event elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unitrack.cli._output import duration, note, text_of
from unitrack.rerun.runner import log_tail

if TYPE_CHECKING:
    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.engine import Course
    from unitrack.rerun.job import JobResult

__all__ = ["TrainingProgress"]

_MOST_METRICS = 4  # columns; a terminal has no room for more
_STYLES = {"pass": "green", "fail": "red", "undecided": "yellow"}

Job = tuple[str, int]


class TrainingProgress:
    """Shows jobs by side and seed, and what the gate thinks of their pairs so far. A context manager.

    `log_of` says where a job's output is: of one that failed its end is shown.
    """

    def __init__(
        self,
        log_of: Callable[[JobResult], Path],
        sides: tuple[str, ...],
        seeds: tuple[int, ...],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log_of, self._sides, self._seeds, self._clock = log_of, sides, seeds, clock
        self._words: dict[Job, str] = {}
        self._started: dict[Job, float] = {}
        self._ended = 0
        self._judged: dict[str, MetricDecision] = {}
        self._pairs: tuple[int, ...] = ()
        self._began = clock()
        self._live: Any = _live_display(self._render) if sys.stderr.isatty() else None

    def __enter__(self) -> TrainingProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, side: str, seed: int) -> None:
        """Show that a job trains now."""
        self._started[side, seed] = self._clock()
        if self._live is None:
            note(f"{side} seed {seed}: started")

    def ended(self, side: str, seed: int, result: JobResult) -> None:
        """Show how a job ended; of one that failed, the end of its output."""
        self._ended += 1
        words = _words(result)
        self._settle(side, seed, words)
        if self._live is None:
            note(f"[{self._ended}/{len(self._sides) * len(self._seeds)}] {side} seed {seed}: {words}")
        if not result.ok:
            for line in log_tail(self._log_of(result)):
                note(f"    {text_of(line)}")

    def dropped(self, side: str, seed: int) -> None:
        """Show that a job was stopped because nobody needs it now."""
        self._settle(side, seed, "stopped")
        if self._live is None:
            note(f"{side} seed {seed}: stopped, it is not needed")

    def judged(self, course: Course) -> None:
        """Show what the gate thinks after a pair."""
        shown = [one for one in course.decisions if one.role != "report"] or list(course.decisions)
        self._judged, self._pairs = {one.name: one for one in shown}, course.seeds
        if self._live is None:
            pairs = len(course.seeds)
            note(f"after {pairs} {'pair' if pairs == 1 else 'pairs'}: {'; '.join(_opinions(shown))}")

    def _settle(self, side: str, seed: int, words: str) -> None:
        self._started.pop((side, seed), None)
        self._words[side, seed] = words

    # -- the table ------------------------------------------------------------------------------------------------

    def _render(self) -> Any:
        import rich.console
        import rich.table
        import rich.text

        metrics = list(self._judged.values())[:_MOST_METRICS]
        made = rich.table.Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
        for title in ("seed", *self._sides):
            made.add_column(title)
        for one in metrics:
            made.add_column(rich.text.Text(f"Δ {text_of(one.name)}"), justify="right")
        for seed in self._seeds:
            cells = [str(seed), *(self._cell(side, seed) for side in self._sides), *self._differences(metrics, seed)]
            made.add_row(*map(rich.text.Text, cells))
        lines = [rich.text.Text(line, style=style) for line, style in self._below()]
        return rich.console.Group(made, *lines)

    def _cell(self, side: str, seed: int) -> str:
        started = self._started.get((side, seed))
        if started is not None:
            return f"trains, {duration(int(self._clock() - started) or 1)}"
        return self._words.get((side, seed), "")

    def _differences(self, metrics: Sequence[MetricDecision], seed: int) -> Iterator[str]:
        for one in metrics:
            known = dict(zip(self._pairs, one.differences, strict=False))
            yield _signed(known.get(seed))

    def _below(self) -> Iterator[tuple[str, str]]:
        for one, words in zip(self._judged.values(), _opinions(list(self._judged.values())), strict=True):
            yield words, _STYLES.get(one.decision, "dim")
        total = len(self._sides) * len(self._seeds)
        yield f"{self._ended} of at most {total} trainings, {duration(int(self._clock() - self._began) or 1)}", "dim"


def _opinions(decisions: Sequence[MetricDecision]) -> list[str]:
    return [_opinion(one) for one in decisions]


def _opinion(one: MetricDecision) -> str:
    """Return what is thought of a metric in a few words; differences are turned so that more is better."""
    difference = "" if one.mean is None else f" {_signed(one.mean)}"
    more = ""
    if one.decision == "undecided" and one.seeds_needed is not None:
        more = f", about {one.seeds_needed} pairs would tell"
    return f"{text_of(one.name)}{difference} {one.decision}{more}"


def _signed(value: object) -> str:
    return f"{value:+.4g}" if isinstance(value, float) else text_of(value) if value is not None else ""


def _words(result: JobResult) -> str:
    if not result.ok:
        return f"no evidence: {text_of(result.reason)}"
    return "known" if result.cached else duration(result.seconds)


def _live_display(render: Callable[[], Any]) -> Any:
    import rich.console
    import rich.live

    console = rich.console.Console(stderr=True, markup=False, highlight=False, emoji=False)
    return rich.live.Live(get_renderable=render, console=console, refresh_per_second=2)
