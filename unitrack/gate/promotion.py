"""Whether a verdict allows a model version to take an alias. Pure: others ask git, the registry and the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from unitrack.gate.evidence import value_of
from unitrack.gate.rules import is_rule
from unitrack.gate.waivers import WaiverRecord, public
from unitrack.model import metric_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unitrack.gate.policy import MetricPolicy
    from unitrack.gate.verdict import Subject, Verdict
    from unitrack.reader import RunView
    from unitrack.registry import ModelVersion

__all__ = ["Claim", "Revision", "contradicted_evidence", "is_from_candidate", "reason_of", "refusals"]


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """A commit and the id of its content; `tree` is None where the commit is not in this clone."""

    commit: str
    tree: str | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when an alias is to move.

    `merged` is what was merged, `candidate` and `baseline` what was compared. `policy_sha256`, from `policy_source`,
    and `waivers` are those of the base. `version` is to take the alias from `holder`; `version_source` is the commit
    its run was made from. `now` is epoch seconds.
    """

    verdict: Verdict
    model: str
    alias: str
    merged: Revision
    candidate: Revision
    baseline: Revision
    policy_sha256: str
    policy_source: str
    waivers: tuple[WaiverRecord, ...] = ()
    version: ModelVersion | None = None
    version_source: Revision | None = None
    holder: ModelVersion | None = None
    holder_source: Revision | None = None
    now: float


def refusals(claim: Claim, *, registers: bool = False) -> list[str]:
    """Return every reason why the alias must not move, each with what to do about it; none if it may.

    With `registers` the version is still to be registered, so nothing is said of it.
    """
    return [
        *_about_outcome(claim),
        *_about_tree(claim),
        *_about_policy(claim),
        *_about_waivers(claim),
        *(() if registers else _about_version(claim)),
        *_about_holder(claim),
    ]


def _about_outcome(claim: Claim) -> Iterator[str]:
    verdict = claim.verdict
    if verdict.policy.model != claim.model:
        yield f"the verdict is about model {verdict.policy.model!r}, not {claim.model!r}"
    if not verdict.key:
        yield "the verdict has no key: make it again with this version of unitrack"
    if verdict.outcome == "pass":
        return
    if not verdict.baseline.commit:
        yield (
            "there was no production model to compare with: the first one is put there by hand, with "
            f"`unitrack models stage {claim.model} VERSION staging` and then `production`"
        )
        return
    yield f"the verdict is {verdict.outcome}, not pass: {verdict.summary}"


def _about_tree(claim: Claim) -> Iterator[str]:
    gated, merged = claim.candidate, claim.merged
    if gated.tree is None:
        yield (
            f"the gated commit {gated.commit[:12]} is not in this clone, so nobody can tell whether "
            f"{merged.commit[:12]} has its content: fetch it (on GitHub `git fetch origin pull/NUMBER/head`)"
        )
    elif gated.tree != merged.tree:
        yield (
            f"{merged.commit[:12]} has other content (tree {(merged.tree or 'unknown')[:12]}) than the gated commit "
            f"{gated.commit[:12]} (tree {gated.tree[:12]}): gate what was merged, `unitrack gate --candidate "
            f"{merged.commit[:12]}`"
        )


def _about_policy(claim: Claim) -> Iterator[str]:
    if claim.verdict.policy_sha256 != claim.policy_sha256:
        yield (
            f"the verdict was reached by another policy ({claim.verdict.policy_sha256[:12]}, from "
            f"{claim.verdict.policy_source}) than that of {claim.policy_source} ({claim.policy_sha256[:12]}): gate "
            "again by this one, or name the base's with --policy-ref"
        )


def _about_waivers(claim: Claim) -> Iterator[str]:
    reviewed = {one.id: one for one in claim.waivers}
    for used in claim.verdict.waivers:
        record = reviewed.get(used.id)
        if record is None or public(record) != used:
            yield f"waiver {used.id} for {used.metric} does not stand beside the policy of {claim.policy_source}"
        elif used.expires <= claim.now:
            yield f"waiver {used.id} for {used.metric} has expired: have it renewed and gate again"


def _about_version(claim: Claim) -> Iterator[str]:
    version = claim.version
    if version is None:
        yield (
            f"no version of {claim.model} is from a run of the gated commit {claim.candidate.commit[:12]}: register "
            "one with --run RUN"
        )
        return
    if not is_from_candidate(version, claim.version_source, claim):
        yield (
            f"{version.reference} is of run {version.run} at {(version.commit or 'no commit')[:12]}, not of the gated "
            f"commit {claim.candidate.commit[:12]}: name another version, or register one with --run RUN"
        )
    if version.digest is None:
        yield f"{version.reference} has no artifact: nothing could be used or attested; log it with run.log_model"


def is_from_candidate(version: ModelVersion, source: Revision | None, claim: Claim) -> bool:
    """Tell whether a version is of one of the gate's own runs, or of a run of the same content."""
    if version.run in {one.run for one in claim.verdict.candidate.runs}:
        return True
    return source is not None and source.tree is not None and source.tree == claim.candidate.tree


def _about_holder(claim: Claim) -> Iterator[str]:
    """The alias must still be where the gate's baseline was: whoever came second has to be compared anew."""
    holder, source = claim.holder, claim.holder_source
    if holder is None or (claim.version is not None and holder.version == claim.version.version):
        return
    same = holder.reference == claim.verdict.baseline.model or holder.commit == claim.baseline.commit
    if same or (source is not None and source.tree is not None and source.tree == claim.baseline.tree):
        return
    compared = claim.verdict.baseline.model or claim.verdict.baseline.commit[:12] or "nothing"
    yield (
        f"{claim.model}@{claim.alias} is {holder.reference} now, and the verdict compared with {compared}: gate "
        "against what is there now"
    )


def contradicted_evidence(verdict: Verdict, open_run: Callable[[str], RunView | None]) -> tuple[list[str], list[str]]:
    """Read the runs behind a verdict again; return where they say something else, and the runs that are not there.

    `open_run` returns None for a run that is not in the store.
    Metrics of examples are worked out again from the predictions; the tests of both sides together are not.
    """
    wrong, absent = list[str](), list[str]()
    for side, subject in (("candidate", verdict.candidate), ("baseline", verdict.baseline)):
        for at, one in enumerate(subject.runs):
            own, judged = open_run(one.run), None if one.evaluation is None else open_run(one.evaluation)
            if own is None or (one.evaluation is not None and judged is None):
                absent.append(one.run)
                continue
            if verdict.mode == "rerun" or side == "candidate":
                wrong += _about_commit(side, subject, own)
            wrong += _about_values(verdict, side, at, own, judged)
    return wrong, absent


def _about_commit(side: str, subject: Subject, view: RunView) -> Iterator[str]:
    commit = view.captures.get("git", {}).get("commit")
    if commit is not None and commit != subject.commit:
        yield f"run {view.id} is said to be of the {side} {subject.commit[:12]}, and was made at {str(commit)[:12]}"


def _about_values(verdict: Verdict, side: str, at: int, own: RunView, judged: RunView | None) -> Iterator[str]:
    measured = [metric for metric in verdict.metrics if not is_rule(metric)]
    for rule, metric in zip(verdict.policy.metrics, measured, strict=True):
        found = value_of(_measuring(rule, own, judged), rule)
        said = getattr(metric, side)[at]
        if said != (None if found is None else metric_value(found)):
            yield f"{rule.name}: the verdict says {said} of run {own.id}, which logged {found}"


def _measuring(rule: MetricPolicy, own: RunView, judged: RunView | None) -> RunView:
    """Return the run whose word counts: time, memory and size are the training's own to tell."""
    if judged is None:
        return own
    tells = value_of(own, rule) is not None
    return own if rule.role in ("budget", "report") and tells else judged


def reason_of(claim: Claim, words: str) -> str:
    """Return what the registry's history says of the move: the verdict, the content, the waivers, and why."""
    waived = ", ".join(one.id for one in claim.verdict.waivers)
    parts = [f"gate {claim.verdict.key[:16]} passed for tree {(claim.candidate.tree or '')[:12]}"]
    parts += [f"with waiver {waived}"] if waived else []
    return " ".join(parts) + (f": {words}" if words else "")
