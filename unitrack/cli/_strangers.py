"""The verdict of a stranger's pull request: what it must agree with, asked of GitHub and of this repository."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from unitrack.ci import evidence, origin
from unitrack.ci.evidence import Base
from unitrack.cli._gating import settings_from
from unitrack.cli._output import note
from unitrack.cli._places import in_repository
from unitrack.errors import EvidenceError, UnitrackError
from unitrack.gate import waivers
from unitrack.gate.policy import make_policy
from unitrack.registry import open_registry

if TYPE_CHECKING:
    from pathlib import Path

    from unitrack.ci.context import Context
    from unitrack.ci.github import GitHub, Pull
    from unitrack.config import Settings
    from unitrack.gate.verdict import Verdict

__all__ = ["verdict_of"]


def verdict_of(path: Path, settings: Settings, hub: GitHub, context: Context, pull: Pull) -> Verdict:
    """Return the verdict that an untrusted run for `pull` left. Raises EvidenceError for any that may not count."""
    verdict = evidence.load(path)
    base = _base(verdict, settings, hub, context, pull)
    evidence.check_subject(verdict, commits=origin.commits_of(context, pull), base=base, now=time.time())
    # Who evaluated is the sender's word too: nothing here has seen the evaluation.
    return msgspec.structs.replace(verdict, evaluated_by=None)


def _base(verdict: Verdict, settings: Settings, hub: GitHub, context: Context, pull: Pull) -> Base:
    """Ask GitHub for the policy and the waivers of the branch that the pull request goes into."""
    path = in_repository(settings.file or settings.root / "unitrack.toml")
    text = hub.text(path, pull.base_ref)
    source = f"{path} of {pull.base_ref}"
    if text is None:
        raise EvidenceError(f"{source}: there is no such file, so there is no policy to judge by")
    gate = settings_from(text, path.rpartition("/")[2], source).gate
    if gate is None:
        raise EvidenceError(f"{source}: there is no section [gate], so there is no policy to judge by")
    beside = f"{path.rpartition('/')[0]}/{waivers.WAIVER_FILE}".lstrip("/")
    reviewed = hub.text(beside, pull.base_ref) if verdict.waivers else None
    own = context.trigger is not None and pull.head_repository == pull.base_repository
    return Base(
        policy=make_policy(gate, source=source),
        waivers=() if reviewed is None else waivers.decode(reviewed.encode(), source=beside),
        head=pull.head_sha,
        branch=context.trigger.head_branch if own and context.trigger is not None else None,
        production=_production(settings, gate.model),
    )


def _production(settings: Settings, model: str | None) -> str | None:
    """Return the commit of the production model, None if the registry can't be asked here or has none."""
    if model is None:
        return None
    try:
        version = open_registry(settings).find(f"{model}@production")
    except UnitrackError as error:
        note(f"unitrack: warning: whether the evidence compares with the production model is not known: {error}")
        return None
    return None if version is None else version.commit
