"""One comment a gate that is kept up to date, however many report steps run at once.

Forges have no "create unless there", so duplicates can't be prevented, only taken back: whoever creates a comment
lists them again, and unless its own is the oldest it deletes it and updates the oldest. Ids only grow, and nobody
deletes the oldest, so all come to the same one. What a killed step left is removed by the next ones.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Comment", "Comments", "Posted", "Sticky", "post"]

_OF = re.compile(r"<!-- unitrack-of run=(\d+) attempt=(\d+) -->")
_TRIES = 3
_MOST_REMOVED = 2  # of what killed steps left; in a race each removes its own, and a forge counts every call


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """A comment as the forge has it."""

    id: int
    author: str
    body: str
    url: str = ""
    created: datetime | None = None


class Comments(Protocol):
    """The comments of one pull or merge request."""

    def listed(self, *, around: Comment | None = None) -> Iterable[Comment]:
        """Yield all of them, or at least those that were written around the time of one."""
        ...

    def create(self, body: str) -> Comment:
        """Add one."""
        ...

    def update(self, id: int, body: str) -> Comment | None:
        """Replace the text of one; None if it is gone."""
        ...

    def delete(self, id: int) -> None:
        """Remove one, if it is still there."""
        ...


class Sticky(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a gate's comment from others, and one run's from a later one's.

    `author` is who we are, if that is known; a comment of anybody else is theirs, whatever it says.
    """

    workflow: str
    job: str
    gate: str
    run: int
    attempt: int
    author: str

    @property
    def marker(self) -> str:
        """Return the invisible first line of the comment."""
        names = ((key, quote(getattr(self, key), safe="")) for key in ("workflow", "job", "gate"))
        return f"<!-- unitrack {' '.join(f'{key}={value}' for key, value in names)} -->"

    def text(self, body: str) -> str:
        """Return the comment's whole text."""
        return f"{self.marker}\n<!-- unitrack-of run={self.run} attempt={self.attempt} -->\n{body}"

    def is_older_than(self, text: str) -> bool:
        """Tell whether a comment's text is from a later run than this one."""
        found = _OF.match(text.partition("\n")[2].lstrip())
        return found is not None and (int(found[1]), int(found[2])) > (self.run, self.attempt)


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a comment: `superseded` says that a later commit or run has the word now."""

    action: Literal["created", "updated", "unchanged", "superseded"]
    url: str = ""


def post(comments: Comments, sticky: Sticky, body: str, *, current: Callable[[], bool]) -> Posted:
    """Bring the gate's comment up to date; `current` asks whether the judged commit is still the head."""
    text = sticky.text(body)
    for _ in range(_TRIES):
        own = _own(comments, sticky)
        if own:
            done = _renew(comments, sticky, own[0], text, current)
            leftover = own[1:]
        else:
            done, leftover = _create(comments, sticky, text, current), []
        if done is not None:
            for one in leftover[:_MOST_REMOVED]:
                comments.delete(one.id)
            return done
    return Posted(action="superseded")


def _own(
    comments: Comments, sticky: Sticky, *, author: str | None = None, around: Comment | None = None
) -> list[Comment]:
    """Return this gate's comments, oldest first."""
    who, listed = author or sticky.author, comments.listed(around=around)
    found = (one for one in listed if one.author == who and one.body.startswith(sticky.marker))
    return sorted(found, key=lambda one: one.id)


def _create(comments: Comments, sticky: Sticky, text: str, current: Callable[[], bool]) -> Posted | None:
    if not current():
        return Posted(action="superseded")
    made = comments.create(text)
    # What was there before was seen, unless we write under another name than was thought.
    around = made if made.author == sticky.author else None
    oldest = next(iter(_own(comments, sticky, author=made.author, around=around)), made)
    if oldest.id >= made.id:
        return Posted(action="created", url=made.url)
    comments.delete(made.id)
    return _renew(comments, sticky, oldest, text, current)


def _renew(
    comments: Comments, sticky: Sticky, comment: Comment, text: str, current: Callable[[], bool]
) -> Posted | None:
    """Update one comment unless that would be a step back; None if it is gone."""
    if comment.body.replace("\r\n", "\n") == text:
        return Posted(action="unchanged", url=comment.url)
    if sticky.is_older_than(comment.body.replace("\r\n", "\n")) or not current():
        return Posted(action="superseded", url=comment.url)
    updated = comments.update(comment.id, text)
    return None if updated is None else Posted(action="updated", url=updated.url)
