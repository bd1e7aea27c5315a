"""Fit sections of Markdown into a limit: whole rows and items go, never half of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Measure = Callable[[str], int]

__all__ = ["Section", "fit"]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A head, items of which the last can be left out, and a foot.

    Sections stand in the order of the page; `rank` says who gets room first (0 before 1). One with `fixed` is
    never left out. `plural` names the items where some are cut.
    """

    name: str
    rank: int
    head: str
    items: Sequence[str] = ()
    foot: str = ""
    plural: str = "rows"
    between: str = "\n"
    fixed: bool = False

    def text(self, count: int) -> str:
        """Return the section with its first `count` items."""
        return f"{self.head}{self.between.join(self.items[:count])}{self.foot}"


def fit(sections: Iterable[Section], *, limit: int, whole: str, measure: Measure = len) -> str:
    """Join as much of the sections as `limit` holds, in characters unless `measure` counts otherwise.

    `whole` is Markdown that says where the rest is.
    """
    given = list(sections)
    text = _join([(section, len(section.items)) for section in given], ())
    if measure(text) <= limit:
        return text
    shares = _shares(given, limit, measure)
    kept = [(section, shares[section.name]) for section in given if section.name in shares]
    notes = [
        f"> - {section.name}: {shares.get(section.name, 0)} of {len(section.items)} {section.plural} shown"
        if section.items
        else f"> - {section.name}: left out"
        for section in given
        if shares.get(section.name, -1) < len(section.items)
    ]
    return _join(kept, ("> [!NOTE]\n> Cut to fit. " + whole + "\n" + "\n".join(notes),))


def _join(kept: Sequence[tuple[Section, int]], notes: Sequence[str]) -> str:
    return "\n\n".join([*(section.text(count) for section, count in kept), *notes]) + "\n"


def _shares(sections: Sequence[Section], limit: int, measure: Measure) -> dict[str, int]:
    """Give each section as many items as there is room for, in the order of their ranks."""
    room = limit - 600 - 80 * len(sections)  # the notes
    shares = {section.name: 0 for section in sections if section.fixed}
    room -= sum(measure(section.text(0)) + 2 for section in sections if section.fixed)
    for section in sorted(sections, key=lambda one: one.rank):
        if section.name not in shares:
            if not section.items and measure(section.text(0)) + 2 <= room:
                room -= measure(section.text(0)) + 2
                shares[section.name] = 0
                continue
            cost = measure(section.text(0)) + 2
        else:
            cost = 0
        count, spent = _fitting(section, room - cost, measure)
        if count:
            shares[section.name] = count
            room -= cost + spent
    return shares


def _fitting(section: Section, room: int, measure: Measure) -> tuple[int, int]:
    spent = 0
    for count, item in enumerate(section.items):
        more = measure(item) + len(section.between)
        if spent + more > room:
            return count, spent
        spent += more
    return len(section.items), spent
