"""What a verdict depends on, as digests: equal questions get the same answer, further attempts pay for it.

Pure but for `Attempts`, the store's memory of what was asked before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from unitrack.errors import EvidenceError
from unitrack.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from unitrack.gate.decision import Noise
    from unitrack.gate.policy import Policy
    from unitrack.rerun.job import Job

__all__ = ["DECISIONS", "Attempt", "Attempts", "question_of", "series_of", "spent", "verdict_key"]

_MOST_HALVINGS = 20  # nothing real passes at a level of 5e-8, and tests lose their digits below it

DECISIONS: Final = 4
"""Raised whenever equal evidence may be decided otherwise, so that no verdict of older rules is returned."""


def series_of(policy_sha256: str, jobs: Sequence[Job], *, mode: str, evaluation: str | None) -> str:
    """Return the digest of what is asked, whichever seeds answer it.

    `jobs` are those of both sides for one agreed seed; a commit counts by its tree, so that an empty
    commit is no new question.
    """
    same = [msgspec.structs.replace(job, commit="").key for job in jobs]
    return _digest({"policy": policy_sha256, "jobs": same, "mode": mode, "evaluation": evaluation, "rules": DECISIONS})


def question_of(series: str, jobs: Sequence[Job], seeds: Sequence[int], *, repetition: int = 0) -> str:
    """Return the digest of a question with the seeds that may answer it; `repetition` counts trainings anew."""
    return _digest({"series": series, "jobs": [j.key for j in jobs], "seeds": list(seeds), "repetition": repetition})


def verdict_key(question: str, attempt: int, noise: Mapping[str, Noise]) -> str:
    """Return the SHA-256 over all a verdict depends on, the noise known beforehand included."""
    known = {name: msgspec.to_builtins(one) for name, one in sorted(noise.items())}
    return _digest({"question": question, "attempt": attempt, "noise": known})


def spent(policy: Policy, attempt: int) -> Policy:
    """Return the policy with the error rate that is left for an attempt: half of the one before it.

    So all attempts together pass a drop of the margin at most twice as often as the first one alone does.
    """
    return msgspec.structs.replace(policy, pass_level=policy.pass_level / 2 ** min(attempt - 1, _MOST_HALVINGS))


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a series; `key` names its verdict once there is one."""

    question: str
    seeds: tuple[int, ...]
    repetition: int = 0
    key: str | None = None


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    attempts: tuple[Attempt, ...] = ()


class Attempts:
    """The attempts at one series of questions, as the store remembers them."""

    def __init__(self, folder: Path, series: str) -> None:
        """Read what is remembered. Raises EvidenceError if it can't be read: forgetting would be free."""
        self._path = folder / f"{series[:32]}.json"
        try:
            self.made = msgspec.json.decode(self._path.read_bytes(), type=_Memory).attempts
        except FileNotFoundError:
            self.made = ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise EvidenceError(f"{self._path}: earlier attempts can't be read: {error}; restore the file") from error

    def number(self, question: str) -> int:
        """Return which attempt a question is, counted from 1."""
        known = [one.question for one in self.made]
        return known.index(question) + 1 if question in known else len(known) + 1

    def key_of(self, question: str) -> str | None:
        """Return the key of its verdict, or None if it was never answered."""
        return next((one.key for one in self.made if one.question == question), None)

    def fresh_seeds(self, count: int, planned: Sequence[int]) -> tuple[int, ...]:
        """Return seeds that nobody has used for this, or those of an attempt that never came to a verdict."""
        last = self.made[-1] if self.made else None
        if last is not None and last.key is None and not last.repetition and last.seeds != tuple(planned):
            return last.seeds
        top = max([*planned, *(seed for one in self.made for seed in one.seeds)])
        return tuple(range(top + 1, top + 1 + count))

    def repetition(self, seeds: Sequence[int]) -> int:
        """Return how often the same seeds will have been trained anew, an unfinished repetition not counted twice."""
        same = [one for one in self.made if one.seeds == tuple(seeds)]
        if not same:
            return 0
        return same[-1].repetition + (same[-1].key is not None)

    def remember(self, attempt: Attempt) -> None:
        """Write an attempt down, before it trains and again with its key. Raises OSError."""
        known = [one.question for one in self.made]
        made = list(self.made)
        if attempt.question in known:
            made[known.index(attempt.question)] = attempt
        else:
            made.append(attempt)
        self.made = tuple(made)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, msgspec.json.encode(_Memory(attempts=self.made)))
