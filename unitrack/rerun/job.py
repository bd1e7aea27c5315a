"""A job: one training command with everything pinned that its result depends on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Job", "JobResult", "fixed_environment", "successes"]

# More than one thread adds up in an order that differs from run to run.
_ONE_THREAD = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `folder` is the project's place in the repository, `environment` what its result may depend on.

    `fingerprint` is the executor's: the interpreter, packages and machine, or an image.
    """

    commit: str
    tree: str
    folder: str
    command: tuple[str, ...]
    seed: int
    inputs: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    executor: str
    fingerprint: str
    timeout: float
    project: str

    @property
    def key(self) -> str:
        """Return the SHA-256 over all a result depends on: equal keys, one result. A time limit changes none."""
        pinned = msgspec.structs.replace(self, timeout=0.0)
        return hashlib.sha256(msgspec.json.encode(pinned, order="deterministic")).hexdigest()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the command with the seed in its place."""
        return tuple(part.replace("{seed}", str(self.seed)) for part in self.command)


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. `run` is evidence only if `ok`; otherwise `reason` says in words what is missing.

    `image` is the digest of the image it ran in and `hardware` the class of the machine, as its executor told them.
    """

    key: str
    commit: str
    seed: int
    ok: bool
    run: str
    seconds: float
    log: str
    exit_code: int | None = None
    reason: str | None = None
    cached: bool = False
    image: str | None = None
    hardware: str | None = None


def successes(store: Path) -> list[JobResult]:
    """Return the results of jobs of this store that gave evidence; one that can't be read is none."""
    found = []
    for path in sorted(store.glob("rerun/*/result.json")):
        try:
            result = msgspec.json.decode(path.read_bytes(), type=JobResult)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if result.ok:
            found.append(result)
    return found


def fixed_environment(seed: int, allowed: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables of a job: what makes training repeatable, and over it what the user allows."""
    fixed = dict.fromkeys(_ONE_THREAD, "1")
    fixed["PYTHONHASHSEED"] = str(seed % 2**32)
    fixed["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what PyTorch's deterministic algorithms ask for
    return tuple(sorted({**fixed, **allowed}.items()))
