"""Check that the candidate's runs recorded the facts a policy demands. Pure: reads runs, asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.audit import Surroundings, examine
from unitrack.capture.environment import LOCK_FILES
from unitrack.gate.verdict import Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unitrack.config import RequiredFact
    from unitrack.reader import RunView
    from unitrack.rerun.job import Job

__all__ = ["check"]

Found = tuple[bool, str]
_OF_THE_FEW = ("ensemble.parts",)  # that most models have none of is no gap


def check(
    names: Sequence[RequiredFact],
    views: Mapping[int, RunView],
    jobs: Sequence[Job],
    files: Sequence[str],
    *,
    baseline: Mapping[int, RunView] | None = None,
) -> tuple[Requirement, ...]:
    """Return what of the demanded facts is there, and where.

    `files` are those of the candidate's commit, `baseline` the runs of what is in production. The facts are the
    items of the audit; what a gate knows better than a run can tell is judged by the jobs.
    """
    made = []
    for name in names:
        satisfied, evidence = _fact(name, views, jobs, files, baseline or {})
        made.append(Requirement(name=name, satisfied=satisfied, evidence=evidence[:500]))
    return tuple(made)


def _fact(
    name: RequiredFact,
    views: Mapping[int, RunView],
    jobs: Sequence[Job],
    files: Sequence[str],
    baseline: Mapping[int, RunView],
) -> Found:
    if not views:
        return False, "no run of the candidate was made"
    if name == "environment.lock":
        return _lock(files)
    if name == "environment.image":
        pinned = sorted({job.fingerprint for job in jobs if "sha256:" in job.fingerprint and job.executor != "process"})
        return bool(pinned), ", ".join(pinned) or "jobs ran as processes, in no image pinned by digest"
    if name == "seeds":
        return _seeds(views, jobs)
    found = [(seed, *_of_one(name, view, views, jobs, baseline.get(seed))) for seed, view in sorted(views.items())]
    lacking = [(seed, words) for seed, ok, words in found if not ok]
    if lacking:
        return False, "; ".join(f"seed {seed}: {words}" for seed, words in lacking[:3])
    return True, found[0][2]


def _of_one(
    name: RequiredFact, view: RunView, views: Mapping[int, RunView], jobs: Sequence[Job], production: RunView | None
) -> Found:
    if name == "code.commit":
        return _commit(view, jobs)
    finding = examine(name, view, Surroundings(others=tuple(views.values()), production=production))
    return finding.state == "satisfied" or name in _OF_THE_FEW and finding.state != "missing", finding.evidence


def _lock(files: Sequence[str]) -> Found:
    locks = sorted(file for file in files if file.lower().rpartition("/")[2] in LOCK_FILES)
    return bool(locks), ", ".join(locks[:3]) or "the candidate's commit holds no lock file (such as uv.lock)"


def _seeds(views: Mapping[int, RunView], jobs: Sequence[Job]) -> Found:
    if any("{seed}" in part for job in jobs for part in job.command):
        return True, f"{{seed}} is in the command; seeds {', '.join(map(str, sorted(views)))}"
    named = [seed for seed, view in views.items() if str(view.params.get("seed")) == str(seed)]
    if len(named) == len(views):
        return True, "each run has its seed as parameter `seed`"
    return False, "neither has the command {seed} nor has each run a parameter `seed` equal to its seed"


def _commit(view: RunView, jobs: Sequence[Job]) -> Found:
    git = view.captures.get("git", {})
    commit = git.get("commit")
    if commit is None:
        return False, "no commit was captured: put git into `capture`"
    if commit not in {job.commit for job in jobs}:
        return False, f"the run says commit {str(commit)[:40]}, which is not the candidate"
    return True, f"commit {commit} captured"
