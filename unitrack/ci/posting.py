"""What became of each thing that was posted: one that can't be does not keep the next from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from unitrack.ci.http import RefusedError
from unitrack.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Done", "Kind", "tried"]

Kind = Literal["comment", "check", "status", "label"]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one thing to post. `refused` is a lack of permission, `failed` anything else."""

    kind: Kind
    state: Literal["done", "skipped", "refused", "failed"]
    text: str


def tried(kind: Kind, action: Callable[[], str], *, needs: str) -> Done:
    """Post one thing; `needs` tells what a token that may not do it lacks."""
    try:
        text = action()
    except RefusedError as error:
        lacking = error.status in (401, 403)
        return Done(
            kind=kind, state="refused" if lacking else "failed", text=f"{error}: {needs}" if lacking else str(error)
        )
    except BackendError as error:
        return Done(kind=kind, state="failed", text=str(error))
    return Done(kind=kind, state="done" if text else "skipped", text=text or "nothing to do")
