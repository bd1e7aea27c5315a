"""Lowering: what becomes of what a tracker can't hold, under policies that the user may choose.

A backend declares the kinds of lowering it knows, each with the policies it offers, its default first:

    KINDS = {"name": ("sanitize", "skip", "fail"), "param-length": ("artifact", "sanitize", "fail")}

and its section of the settings chooses others:

    [backends.mlflow.lowering]
    name = "fail"

`sanitize` keeps the nearest value the tracker holds, `skip` leaves the value out, `artifact` keeps the
whole value as a file beside it, `fail` refuses the record, which then is a dead letter. Whatever is
chosen, the user is told. Pure: no clock, no file, no network.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from unitrack.backend import Lowering
from unitrack.errors import ConfigError, UnitrackError

__all__ = ["Lowerings", "NameMap", "Policy", "RefusedError", "choose_policies", "report"]

Policy = Literal["sanitize", "skip", "artifact", "fail"]


class RefusedError(UnitrackError):
    """A record can't be held as it is and the policy is `fail`: the backend rejects it with this reason."""


def choose_policies(
    kinds: Mapping[str, Sequence[Policy]], chosen: Mapping[str, Any] | None, *, section: str
) -> dict[str, Policy]:
    """Return the policy of each kind: the chosen one, else the kind's first.

    `section` is what messages call the table, such as `backends.mlflow.lowering`. Raises ConfigError.
    """
    policies = {kind: offered[0] for kind, offered in kinds.items()}
    for kind, policy in (chosen or {}).items():
        if kind not in kinds:
            near = difflib.get_close_matches(str(kind), kinds, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(f"[{section}] knows no {kind!r}{meant}; it has: {', '.join(kinds)}", key=str(kind))
        if policy not in kinds[kind]:
            offered = ", ".join(kinds[kind])
            raise ConfigError(f"[{section}] {kind} is one of {offered}, not {policy!r}", key=kind)
        policies[kind] = policy
    return policies


class Lowerings:
    """Collects what is lowered, each kind and name once, and says what the policy is."""

    def __init__(self, policies: Mapping[str, Policy] | None = None) -> None:
        self._policies = dict(policies or {})
        self._told: dict[tuple[str, str], Lowering] = {}

    def policy(self, kind: str) -> Policy:
        """Return what to do about `kind`; `sanitize` where nothing was declared."""
        return self._policies.get(kind, "sanitize")

    def tell(self, kind: str, name: str, detail: str) -> None:
        """Take note that the tracker holds less than the journal."""
        self._told.setdefault((kind, name), Lowering(kind=kind, name=name, detail=detail))

    def decide(self, kind: str, name: str, *, trouble: str, remedy: str) -> Policy:
        """Tell of `trouble` and what is done about it, and return the policy.

        `remedy` says what `sanitize` or `artifact` make of it. Raises RefusedError if the policy is `fail`.
        """
        policy = self.policy(kind)
        if policy == "fail":
            raise RefusedError(f"{kind}: {name}: {trouble}, and the policy is `fail`")
        self.tell(kind, name, f"{trouble}: {'left out' if policy == 'skip' else remedy}")
        return policy

    @property
    def all(self) -> tuple[Lowering, ...]:
        """What was told, in order."""
        return tuple(self._told.values())


class NameMap:
    """Names that a tracker takes: one for each of the run's, no two alike, and the way back.

    `clean(name, room)` returns the nearest text the tracker takes, at most `room` long; a name that
    it leaves alone stays. Any other gets eight or more hex digits of the name's SHA-256. `known` is what
    the tracker holds of an earlier map (key to name); `fresh` is what must be kept there now. The same names
    in the same order get the same keys in every process.
    """

    def __init__(self, clean: Callable[[str, int], str], *, longest: int, known: Mapping[str, str] | None = None):
        self._clean, self._longest = clean, longest
        self._names: dict[str, str] = dict(known or {})
        self._keys: dict[str, str] = {name: key for key, name in self._names.items()}
        self.fresh: dict[str, str] = {}

    def key(self, name: str) -> str:
        """Return the tracker's name for `name`."""
        known = self._keys.get(name)
        return known if known is not None else self._add(name)

    def name(self, key: str) -> str:
        """Return the run's name for `key`."""
        return self._names.get(key, key)

    @property
    def changed(self) -> dict[str, str]:
        """Key to name, for every name the tracker can't hold as it is."""
        return {key: name for key, name in self._names.items() if key != name}

    def _add(self, name: str) -> str:
        key = next(key for key in self._candidates(name) if self._names.get(key, name) == name)
        self._names[key], self._keys[name] = name, key
        if key != name:
            self.fresh[key] = name
        return key

    def _candidates(self, name: str) -> Iterable[str]:
        if self._clean(name, self._longest) == name:
            yield name
        digest = hashlib.sha256(name.encode()).hexdigest()
        for digits in (8, 16, 32, 64):
            yield f"{self._clean(name, self._longest - digits - 1)}-{digest[:digits]}"


def report(run: str, backend: str, lowered: Iterable[Lowering]) -> bytes:
    """Return the report of a run at a backend as JSON: a document to keep in the tracker itself."""
    told = [{"kind": one.kind, "name": one.name, "detail": one.detail} for one in lowered]
    text = msgspec.json.encode({"run": run, "backend": backend, "lowered": told})
    return msgspec.json.format(text, indent=2) + b"\n"
