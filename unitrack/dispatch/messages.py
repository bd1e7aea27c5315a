"""What dispatcher and worker say to each other: one JSON line each."""

from __future__ import annotations

from typing import Any, Literal, Union

import msgspec

__all__ = ["Finished", "Job", "Lowering", "Message", "Note", "Progress", "Ready", "Result", "State", "Waiting"]

State = Literal["sent", "live", "busy", "failed"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The first line to a worker. Options may hold what no command line should show, so it comes by stdin.

    Without `runs` the worker takes every run of the store that isn't done. `patience` is in seconds. With
    `takeover` it asks another process that follows a run to let go of it.
    """

    store: str
    backend: str
    type: str
    options: dict[str, Any] = {}
    runs: tuple[str, ...] | None = None
    follow: bool = False
    retry_dead: bool = False
    takeover: bool = False
    patience: float = 60.0
    poll: float = 0.5


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    pass


class Ready(_Message, frozen=True, kw_only=True):
    """The worker runs and has its backend at hand; what fails from now on is worth another try.

    `plugin` is the distribution the backend is from, with its version.
    """

    plugin: str = ""


class Progress(_Message, frozen=True, kw_only=True):
    """Events done with and still to do; `lag` is the age in seconds of the last one that was sent."""

    run: str
    sent: int
    pending: int
    lag: float = 0.0


class Waiting(_Message, frozen=True, kw_only=True):
    """An attempt failed; the next is in `seconds`."""

    run: str
    reason: str
    seconds: float


class Lowering(_Message, frozen=True, kw_only=True):
    """The tracker holds less than the journal: told once a run for each `kind` and `name`."""

    run: str
    kind: str
    name: str
    detail: str


class Note(_Message, frozen=True, kw_only=True):
    """Something the user should know and need not act on."""

    run: str
    text: str


class Result(_Message, frozen=True, kw_only=True):
    """What became of a run: `sent`, `live` (all so far), `busy` (another process sends it) or `failed`.

    `taken` tells that the process that followed it had to let go.
    """

    run: str
    state: State
    sent: int = 0
    dead: int = 0
    pending: int = 0
    reason: str | None = None
    taken: bool = False


class Finished(_Message, frozen=True, kw_only=True):
    """The last line. `error` is what stopped the worker before it had served every run."""

    error: str | None = None


Message = Union[Ready, Progress, Waiting, Lowering, Note, Result, Finished]
