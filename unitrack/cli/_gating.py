"""What `gate` settles before it trains: who judges by what, what is compared, and whether it was judged before."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from unitrack.config import EvaluateSettings, GateSettings, Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError, UnitrackError, UsageError
from unitrack.gate import ledger, waivers
from unitrack.gate.causes import differ_in_constants
from unitrack.gate.curves import tier_of
from unitrack.gate.engine import FAILED_BEFORE
from unitrack.gate.flags import evaluation_flags, settings_flags
from unitrack.gate.lineage import test_data_of
from unitrack.gate.policy import Policy, make_policy
from unitrack.gate.verdict import (
    Flag,
    TestSetUse,
    Tier,
    Verdict,
    blocks_of,
    outcome_of,
    read_verdict,
    summary_of,
    verdict_path,
)
from unitrack.journal import layout
from unitrack.reader import get_run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from unitrack.gate.decision import MetricDecision
    from unitrack.gate.engine import Course, Plan
    from unitrack.gate.keys import Attempt
    from unitrack.reader import RunView
    from unitrack.rerun.git import Repository

__all__ = [
    "Judging",
    "Waiving",
    "base_ref",
    "failed_before",
    "flags_of",
    "history_between",
    "make_judging",
    "parse_seeds",
    "test_set_use",
    "tier_between",
    "waive",
    "waived_anew",
    "waivers_of",
]

_MOST_COMPARED = 50  # files; comparing more takes longer than it tells


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a gate and where they are from: a commit `ref`, a file, or the working tree."""

    policy: Policy
    source: str
    settings: Settings
    ref: str | None = None
    file: Path | None = None

    @property
    def gate(self) -> GateSettings:
        """The section [gate]."""
        return self.settings.gate or GateSettings()

    @property
    def evaluate(self) -> EvaluateSettings:
        """The section [evaluate]; without one, what tells files that measure."""
        return self.settings.evaluate or EvaluateSettings()

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments that choose these rules again."""
        if self.ref is not None:
            return "--policy-ref", self.ref
        return () if self.file is None else ("--policy", str(self.file))


def base_ref(environ: Mapping[str, str]) -> str | None:
    """Return what a pull request is to be merged into, as the CI system tells it; None outside of one."""
    if environ.get("GITHUB_ACTIONS") == "true" and environ.get("GITHUB_BASE_REF"):
        return f"origin/{environ['GITHUB_BASE_REF']}"
    return environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA") or None


def make_judging(settings: Settings, find: Callable[[], Repository], *, file: Path | None, ref: str | None) -> Judging:
    """Return the rules: those of a file, of a commit, or of the working tree."""
    if file is not None and ref is not None:
        raise UsageError("--policy and --policy-ref both say where the policy is: give one of them")
    name = "unitrack.toml" if settings.file is None else settings.file.name
    if file is not None:
        found, source = settings_from(_read(file), "unitrack.toml", str(file)), str(file)
    elif ref is not None:
        repository = find()
        ref = repository.commit(ref)
        found, source = settings_at(settings, repository, ref)
    else:
        found, source = settings, name
    if found.gate is None:
        raise ConfigError("there is no section [gate]: `unitrack init` shows one", file=source, key="gate")
    policy = make_policy(found.gate, source=source, sources=found.sources)
    return Judging(
        policy=policy,
        source=source,
        settings=found,
        ref=ref,
        file=file,
    )


def settings_at(settings: Settings, repository: Repository, ref: str) -> tuple[Settings, str]:
    """Return the project's settings as a commit has them, and the words for where they are from."""
    own = settings.file or settings.root / "unitrack.toml"
    path = Path(os.path.relpath(own.resolve(), repository.root.resolve())).as_posix()
    source = f"{path} at {repository.commit(ref)[:12]} ({ref})"
    return settings_from(repository.text(ref, path), own.name, source), source


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--policy {file}: can't be read: {error}") from error


def settings_from(text: str, name: str, source: str) -> Settings:
    """Read a settings file's text; errors name `source`, not where it was put to be read."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, name).write_text(text, encoding="utf-8")
        try:
            return load_settings(scratch, env={})
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(Path(scratch, name)), source), key=error.key) from error


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    """Return the seeds of `--use-seeds 3,4,5`. Raises UsageError."""
    if text is None:
        return None
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--use-seeds {text[:80]!r}: give whole numbers with commas, such as 5,6,7") from error
    if len(set(seeds)) != len(seeds):
        raise UsageError("--use-seeds names a seed twice: two equal trainings are one")
    return seeds


def flags_of(judging: Judging, own: Settings, repository: Repository, plan: Plan, *, trusted: bool) -> list[Flag]:
    """Return what the candidate changes of what judges it."""
    base = judging.ref or plan.baseline.commit
    if not base:
        return []
    candidate = _settings_or_none(own, repository, plan.candidate.commit)
    before = judging.settings if judging.ref else _settings_or_none(own, repository, base)
    flags = settings_flags(before, candidate, base_judges=judging.ref is not None)
    changed = repository.changed_files(plan.baseline.commit or base, plan.candidate.commit)
    return [*flags, *evaluation_flags(judging.evaluate, changed, trusted=trusted)]


def _settings_or_none(own: Settings, repository: Repository, commit: str) -> Settings | None:
    try:
        return settings_at(own, repository, commit)[0]
    except UnitrackError:
        return None


def failed_before(attempts: Sequence[Attempt], question: str, store: Path) -> bool:
    """Tell whether an attempt before this one failed, or may have: its verdict is gone, and forgetting is not free."""
    for one in attempts:
        if one.question == question:
            return False
        if one.key is not None and _failed(verdict_path(store, one.key[:16])):
            return True
    return False


def _failed(path: Path) -> bool:
    try:
        return read_verdict(path).outcome == "fail"
    except EvidenceError:
        return True


def history_between(
    repository: Repository, old: str, new: str, *, store: Path
) -> tuple[Sequence[str], Sequence[str], Collection[str]]:
    """Return commits, files, and those files in which only constants differ; models are no cause of anything."""
    if not old:
        return (), (), ()
    registry = Path(os.path.relpath(layout.registry_dir(store.resolve()), repository.root.resolve())).as_posix()
    models = re.compile(rf"{re.escape(registry)}/(?:[^/]+\.json|\.[^/]+\.lock)")
    files = tuple(file for file in repository.changed_files(old, new) if not models.fullmatch(file))
    python = [file for file in files if file.endswith(".py")][:_MOST_COMPARED]
    return repository.subjects(old, new), files, [file for file in python if _constants(repository, file, old, new)]


def _constants(repository: Repository, file: str, old: str, new: str) -> bool:
    try:
        return differ_in_constants(repository.text(old, file), repository.text(new, file))
    except UsageError:  # one side does not have it
        return False


def tier_between(policy: Policy, course: Course, store: Path) -> Tier | None:
    """Compare the runs of this gate with other trainings of the same jobs that the store holds."""
    tiers = []
    for side in ("candidate", "baseline"):
        views: dict[int, RunView] = getattr(course, side)
        keys = {pair.seed: getattr(pair, side).key for pair in course.pairs if getattr(pair, side) is not None}
        again = [
            (seed, view)
            for seed, key in keys.items()
            if key
            for view in _repeats(store, key)
            if seed in views and view.id != views[seed].id
        ]
        tiers.append(tier_of(policy, views, again))
    order: tuple[Tier, ...] = ("bit_equal", "within_1e-6", "statistically_equal", "not_reproduced")
    return max((tier for tier in tiers if tier is not None), key=order.index, default=None)


def test_set_use(course: Course, key: str, store: Path) -> TestSetUse | None:
    """Count this verdict among those that the candidate's test data has judged; None if no run names test data."""
    views: list[RunView] = list(course.candidate.values())
    versions = test_data_of(views[0]) if views else {}
    if not versions:
        return None
    rows = [each.rows for each in views[0].datasets if each.name in versions]
    found = sorted({version.partition(" (")[0] for version in versions.values()})
    digest = found[0] if len(found) == 1 else "sha256:" + hashlib.sha256("\n".join(found).encode()).hexdigest()
    examples = sum(row for row in rows if row) or None
    return ledger.use(store, digest[:300], key, now=time.time(), examples=examples)


def _repeats(store: Path, key: str) -> list[RunView]:
    found = []
    for path in sorted(layout.runs_dir(store).glob(f"rerun-{key[:16]}*")):
        try:
            view = get_run(path.name, dir=store)
            if view.status == "finished" and not view.lost and not view.damaged:
                found.append(view)
        except UnitrackError:
            continue  # an earlier training that broke says nothing about this one
    return found


class Waiving(msgspec.Struct, frozen=True, kw_only=True):
    """Applies the waivers that were read once, as they hold at `now`."""

    records: tuple[waivers.WaiverRecord, ...]
    commit: str
    branch: str | None
    model: str | None
    now: float

    def __call__(self, decisions: Sequence[MetricDecision]) -> waivers.Applied:
        return waivers.apply(
            decisions, self.records, commit=self.commit, branch=self.branch, model=self.model, now=self.now
        )


def waive(judging: Judging, repository: Repository, plan: Plan, *, branch: str | None, now: float) -> Waiving:
    """Return what applies the waivers that stand where the policy is from. Raises ConfigError for bad ones."""
    return Waiving(
        records=waivers_of(judging, repository),
        commit=plan.candidate.commit,
        branch=branch,
        model=plan.policy.model,
        now=now,
    )


def waivers_of(judging: Judging, repository: Repository) -> tuple[waivers.WaiverRecord, ...]:
    """Return the waivers that stand where the policy is from. Raises ConfigError for bad ones."""
    folder = judging.settings.root if judging.ref is None else None
    if judging.file is not None:
        folder = judging.file.parent
    if folder is not None:
        try:
            return waivers.decode((folder / waivers.WAIVER_FILE).read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise EvidenceError(f"{folder / waivers.WAIVER_FILE} can't be read: {error.strerror}") from error
    path = judging.source.partition(" at ")[0]
    beside = Path(path).with_name(waivers.WAIVER_FILE).as_posix()
    if beside not in repository.files(judging.ref or ""):
        return ()
    return waivers.decode(repository.text(judging.ref or "", beside).encode(), source=f"{beside} at {judging.ref}")


def waived_anew(verdict: Verdict, waive: Waiving) -> Verdict:
    """Return a verdict that was reached before, with the waivers that hold now."""
    bare = [msgspec.structs.replace(one, waived=None) for one in verdict.metrics]
    applied = waive(bare)
    if applied.decisions == verdict.metrics and applied.used == verdict.waivers:
        return verdict
    outcome = outcome_of(applied.decisions, verdict.requirements)
    still = FAILED_BEFORE in verdict.warnings and outcome == "undecided"
    return msgspec.structs.replace(
        verdict,
        metrics=applied.decisions,
        waivers=applied.used,
        outcome=outcome,
        created=waive.now,
        blocks=still or blocks_of(outcome, verdict.policy, baseline=verdict.baseline, seeds=verdict.seeds),
        summary=summary_of(outcome, applied.decisions, verdict.requirements, missing=not verdict.baseline.commit),
        warnings=(*(one for one in verdict.warnings if " let through by waiver " not in one), *applied.warnings),
    )
