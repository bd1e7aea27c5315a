"""What a way into W&B is: offline, a folder; online, a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from unitrack_wandb._plan import Op, State

if TYPE_CHECKING:
    from unitrack.backend import RunInfo
    from unitrack.events import FinalStatus
    from unitrack.lowering import Lowerings

__all__ = ["EXIT_CODES", "Opened", "Options", "Place"]

EXIT_CODES = {"finished": 0, "failed": 1, "killed": 137}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section `[backends.wandb]`. Credentials come from the environment or `wandb login`."""

    mode: str = "online"
    """`online`, or `offline`: a folder for a later `wandb sync`."""
    project: str | None = None
    """The run's project unless given."""
    entity: str | None = None
    """WANDB_ENTITY or the account's own unless given."""
    base_url: str | None = None
    """WANDB_BASE_URL or W&B's own server unless given."""
    dir: str | None = None
    """Where the folder `wandb` is; WANDB_DIR or the working folder unless given."""
    group: str | None = None
    """The run's group unless given."""
    job_type: str | None = None
    notes: str | None = None
    link: dict[str, str] = {}
    """Names of artifacts to the collections each version is linked into, such as `wandb-registry-model/digits`."""
    timeout: float = 20.0
    """Seconds until an answer of the server is given up."""
    batch: int = 1000
    """Events to offer at once, 1 to 10000."""
    lowering: dict[str, str] = {}


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What W&B holds of the run, and what tells this place for it from every other."""

    state: State
    target: str
    folder: str = ""


class Place(Protocol):
    """One run in one W&B."""

    def open(self, run: RunInfo) -> Opened:
        """Find the run or make it."""
        ...

    def apply(self, ops: Sequence[Op], state: State, lowerings: Lowerings) -> None:
        """Carry out `ops`; return when W&B would have them after a power cut, and knows `state`."""
        ...

    def end(self, status: FinalStatus, state: State, lowerings: Lowerings) -> None:
        """Tell W&B the run's end."""
        ...

    def close(self) -> None:
        """Let go of the run."""
        ...
