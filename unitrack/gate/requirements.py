"""Check that the candidate's runs recorded the facts a policy demands. Pure: reads runs, asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unitrack.gate.verdict import Requirement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from unitrack.config import RequiredFact
    from unitrack.reader import RunView
    from unitrack.rerun.job import Job

__all__ = ["check"]

_LOCKS = (
    "unitrack.lock", "uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "conda-lock.yml", "pipfile.lock",
    "requirements.lock", "requirements.txt", "constraints.txt",
)  # fmt: skip
Found = tuple[bool, str]


def check(
    names: Sequence[RequiredFact], views: Mapping[int, RunView], jobs: Sequence[Job], files: Sequence[str]
) -> tuple[Requirement, ...]:
    """Return what of the demanded facts is there, and where; `files` are those of the candidate's commit."""
    made = []
    for name in names:
        satisfied, evidence = _fact(name, views, jobs, files)
        made.append(Requirement(name=name, satisfied=satisfied, evidence=evidence[:500]))
    return tuple(made)


def _fact(name: RequiredFact, views: Mapping[int, RunView], jobs: Sequence[Job], files: Sequence[str]) -> Found:
    if not views:
        return False, "no run of the candidate was made"
    if name == "environment.lock":
        return _lock(files)
    if name == "environment.image":
        pinned = sorted({job.fingerprint for job in jobs if "sha256:" in job.fingerprint and job.executor != "process"})
        return bool(pinned), ", ".join(pinned) or "jobs ran as processes, in no image pinned by digest"
    if name == "seeds":
        return _seeds(views, jobs)
    found = [(seed, *_ONE[name](view, jobs)) for seed, view in sorted(views.items())]
    lacking = [(seed, words) for seed, ok, words in found if not ok]
    if lacking:
        return False, "; ".join(f"seed {seed}: {words}" for seed, words in lacking[:3])
    return True, found[0][2]


def _lock(files: Sequence[str]) -> Found:
    locks = sorted(file for file in files if file.lower().rpartition("/")[2] in _LOCKS)
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


def _data(view: RunView, _: Sequence[Job]) -> Found:
    if not view.datasets:
        return False, "it logged no dataset: call run.log_dataset"
    bare = [each.name for each in view.datasets if not (each.digest or each.version)]
    if bare:
        return False, f"no digest and no version of {', '.join(bare[:3])}"
    return True, "; ".join(f"{each.name} {each.digest or each.version}" for each in view.datasets[:3])


def _packages(view: RunView, _: Sequence[Job]) -> Found:
    packages = view.captures.get("environment", {}).get("packages") or {}
    return bool(packages), f"{len(packages)} packages captured: put environment into `capture` for more"


def _hardware(view: RunView, _: Sequence[Job]) -> Found:
    cpu = view.captures.get("hardware", {}).get("cpu")
    return cpu is not None, f"processor {cpu}" if cpu else "no processor captured: put hardware into `capture`"


def _params(view: RunView, _: Sequence[Job]) -> Found:
    return bool(view.params), f"{len(view.params)} parameters logged"


def _artifact(kind: str) -> Callable[[RunView, Sequence[Job]], Found]:
    def found(view: RunView, _: Sequence[Job]) -> Found:
        made = [each for each in view.artifacts if each.kind == kind and each.use == "output" and each.digest]
        return bool(made), ", ".join(f"{each.name} {each.digest}" for each in made[:2]) or f"it logged no {kind}"

    return found


_ONE: dict[str, Callable[[RunView, Sequence[Job]], Found]] = {
    "code.commit": _commit,
    "data.version": _data,
    "environment.packages": _packages,
    "hardware": _hardware,
    "model": _artifact("model"),
    "params": _params,
    "predictions": _artifact("predictions"),
}
