"""`unitrack promote`: let a model version take an alias, with a verdict that passed it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from unitrack.cli._gating import Judging, make_judging, waivers_of
from unitrack.cli._output import Console, emit, json_option, note, text_of
from unitrack.cli._verdicts import past_verdicts
from unitrack.cli.models import register_run
from unitrack.config import Settings, load_settings
from unitrack.errors import ConfigError, EvidenceError, RunNotFoundError, UsageError
from unitrack.files import write_atomic
from unitrack.gate.attestation import Statement, encode, make_statement, verify_attestation
from unitrack.gate.lineage import facts_of
from unitrack.gate.policy import policy_digest
from unitrack.gate.promotion import Claim, Revision, contradicted_evidence, is_from_candidate, reason_of, refusals
from unitrack.gate.verdict import Verdict, read_verdict, verdict_path
from unitrack.gate.verdict import encode as encode_verdict
from unitrack.journal import layout
from unitrack.journal.seal import verify_run
from unitrack.reader import get_run
from unitrack.registry import ModelVersion, check_model_name, open_registry
from unitrack.registry.base import whoever_runs_this
from unitrack.registry.lock import exclusive
from unitrack.report import release_note
from unitrack.rerun.git import Repository, find_repository

if TYPE_CHECKING:
    from unitrack.reader import RunView

__all__ = ["command"]

_PATIENCE = 60.0  # seconds
_LOCK_FILE = "unitrack.lock"


@click.command(name="promote")
@click.argument("verdict", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", metavar="NAME", help="The model; [gate].model unless given.")
@click.option("--version", "number", type=click.IntRange(min=1), metavar="N", help="Its version; the newest that fits.")
@click.option("--run", "run_id", metavar="RUN", help="Register this run's model first.")
@click.option("--alias", default="production", show_default=True, metavar="NAME", help="What the version becomes.")
@click.option("--commit", "ref", default="HEAD", show_default=True, help="What was merged; it must be what was gated.")
@click.option("--policy-ref", metavar="REF", help="Whose policy and waivers count; --commit's unless given.")
@click.option("--reason", default="", metavar="TEXT", help="Why; the registry's history keeps it.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write attestation and note here.")
@click.option("--verify", type=click.Path(path_type=Path, dir_okay=False), help="Check this attestation, move nothing.")
@click.option("--dry-run", is_flag=True, help="Check all, change nothing.")
@json_option
def command(
    *,
    verdict: Path | None,
    model: str | None,
    number: int | None,
    run_id: str | None,
    alias: str,
    ref: str,
    policy_ref: str | None,
    reason: str,
    output: Path | None,
    verify: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let a model version take an alias, if a verdict passed exactly what was merged.

    VERDICT is a verdict.json; the newest one of the merged content unless given. Its commit must have the same
    content as what was merged, its policy be that of the base, its baseline still hold the alias. Writes an in-toto
    attestation and a release note. Ends with 1 if the alias may not move.
    """
    settings = load_settings()
    repository = find_repository(settings.root)
    desk = _Desk(settings, repository, ref=ref, policy_ref=policy_ref, alias=alias)
    name = check_model_name(model or desk.judging.policy.model or _no_model())
    path = verdict or desk.newest(name)
    with _alone(settings, name, dry=dry_run or verify is not None):
        claim = desk.claim(read_verdict(path), name, number=number, run=run_id, dry=dry_run or verify is not None)
        registers = claim.version is None and run_id is not None and dry_run
        problems = [*refusals(claim, registers=registers), *desk.contradictions(claim)]
        if verify is not None and not problems:
            desk.verify(claim, verify)
        moves = not problems and not dry_run and verify is None
        result = desk.promote(claim, reason, output) if moves else _result(claim, problems)
    emit(result, as_json=as_json, render=lambda console: _show(console, result, moved=moves))
    for one in problems:
        note(f"unitrack: refused: {text_of(one)}")
    if problems:
        click.get_current_context().exit(1)


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """What `promote` did or would do. `refused` says why it did not; paths are None where nothing was written."""

    model: str
    version: str | None
    alias: str
    previous: str | None
    verdict: str
    tree: str | None
    promoted: bool = False
    refused: tuple[str, ...] = ()
    attestation: Path | None = None
    release_note: Path | None = None


def _no_model() -> str:
    raise ConfigError("[gate] has no model: name one with --model", key="gate.model")


def _result(claim: Claim, problems: list[str]) -> Promotion:
    return Promotion(
        model=claim.model,
        version=None if claim.version is None else claim.version.reference,
        alias=claim.alias,
        previous=None if claim.holder is None else claim.holder.reference,
        verdict=claim.verdict.key,
        tree=claim.merged.tree,
        refused=tuple(problems),
    )


def _show(console: Console, result: Promotion, *, moved: bool) -> None:
    what = f"{result.version or result.model} {{}} {result.alias}, by verdict {result.verdict[:16]}"
    if result.refused:
        console.print(what.format("does not become"), style="bold red")
    elif not moved:
        console.print(what.format("may become"))
    else:
        console.print(what.format("is"), style="green")
        console.print(f"attestation: {result.attestation}\nrelease note: {result.release_note}")


@contextmanager
def _alone(settings: Settings, model: str, *, dry: bool) -> Iterator[None]:
    """Keep other promotions of the model out, so that two with one baseline can't both go through."""
    folder = layout.registry_dir(settings.store)
    if dry or not folder.is_dir():
        yield
        return
    with exclusive(folder / f".promote-{model.lower()}.lock", timeout=_PATIENCE, doing="another promotion"):
        yield


class _Desk:
    """Where the facts of a promotion are looked up."""

    def __init__(
        self, settings: Settings, repository: Repository, *, ref: str, policy_ref: str | None, alias: str
    ) -> None:
        self._settings, self._repository, self._alias = settings, repository, alias
        self._merged = self._revision(repository.commit(ref))
        self._policy_ref = repository.commit(policy_ref or ref)
        self.judging: Judging = make_judging(settings, lambda: repository, file=None, ref=self._policy_ref)
        self.registry = open_registry(settings)

    def _revision(self, commit: str) -> Revision:
        try:
            return Revision(commit=commit, tree=self._repository.tree(self._repository.commit(commit)))
        except UsageError:
            return Revision(commit=commit)

    def newest(self, model: str) -> Path:
        """Return the newest verdict of the store about the merged content. Raises EvidenceError if there is none."""
        for past in past_verdicts(self._settings.store, model=model)[0]:
            if past.candidate == self._merged.commit or self._revision(past.candidate).tree == self._merged.tree:
                return Path(past.path)
        raise EvidenceError(
            f"the store has no verdict of {model} about the content of {self._merged.commit[:12]}: run `unitrack gate "
            f"--candidate {self._merged.commit[:12]}`, or name a verdict.json"
        )

    def claim(self, verdict: Verdict, model: str, *, number: int | None, run: str | None, dry: bool) -> Claim:
        """Gather all that speaks for and against a promotion; registers the model of `run` if nothing else does."""
        holder = self.registry.find(f"{model}@{self._alias}")
        claim = Claim(
            verdict=verdict,
            model=model,
            alias=self._alias,
            merged=self._merged,
            candidate=self._revision(verdict.candidate.commit),
            baseline=self._revision(verdict.baseline.commit) if verdict.baseline.commit else Revision(commit=""),
            policy_sha256=policy_digest(self.judging.policy),
            policy_source=self.judging.source,
            waivers=waivers_of(self.judging, self._repository),
            holder=holder,
            holder_source=None if holder is None or not holder.commit else self._revision(holder.commit),
            now=time.time(),
        )
        version = self._version(claim, number, run)
        if version is None and run is not None and not dry:
            refused = refusals(claim, registers=True)
            version = None if refused else register_run(self.registry, self._settings.store, model, run)
        return msgspec.structs.replace(claim, version=version, version_source=self._source(version))

    def _version(self, claim: Claim, number: int | None, run: str | None) -> ModelVersion | None:
        if number is not None:
            return self.registry.get(f"{claim.model}:{number}")
        known = self.registry.versions(claim.model) if claim.model in self.registry.models() else ()
        if run is not None:
            return next((one for one in reversed(known) if one.run == run and one.digest is not None), None)
        return next((one for one in reversed(known) if is_from_candidate(one, self._source(one), claim)), None)

    def _source(self, version: ModelVersion | None) -> Revision | None:
        """Return the commit a version's run was made from: what the run itself says, if it is here."""
        if version is None:
            return None
        view = self._run(version.run)
        git = {} if view is None else view.captures.get("git", {})
        if git.get("dirty"):
            return None
        commit = git.get("commit") or version.commit
        return self._revision(str(commit)) if commit else None

    def _run(self, run: str) -> RunView | None:
        try:
            view = get_run(run, dir=self._settings.store)
        except (RunNotFoundError, UsageError):
            return None
        report = verify_run(layout.run_dir(self._settings.store, view.id))
        if not report.ok:
            raise EvidenceError(f"run {run} is not what it was when it ended: see `unitrack verify {run}`")
        return view

    def contradictions(self, claim: Claim) -> list[str]:
        """Return where the runs in the store say something else than the verdict; note those that are not there."""
        wrong, absent = contradicted_evidence(claim.verdict, self._run)
        if absent:
            note(
                f"unitrack: warning: {len(absent)} runs behind the verdict are not in this store: its numbers are "
                "taken at their word"
            )
        version = claim.version
        view = None if version is None else self._run(version.run)
        if version is not None and view is not None and version.digest is not None:
            made = {one.digest for one in view.artifacts if one.use == "output"}
            if version.digest not in made:
                wrong.append(
                    f"{version.reference} is not what run {view.id} made: the run has no artifact of its digest"
                )
        return wrong

    def verify(self, claim: Claim, path: Path) -> None:
        """Check an attestation that was made before. Raises EvidenceError."""
        assert claim.version is not None  # else there was a refusal
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EvidenceError(f"{path}: can't be read: {error.strerror}") from error
        self._verified(claim, claim.version, data, str(path))

    def _verified(self, claim: Claim, version: ModelVersion, data: bytes, source: str) -> Statement:
        return verify_attestation(
            data,
            digest=version.digest or "",
            tree=claim.merged.tree or "",
            policy_sha256=claim.policy_sha256,
            verdict=encode_verdict(claim.verdict),
            source=source,
        )

    def promote(self, claim: Claim, words: str, output: Path | None) -> Promotion:
        """Write the attestation, move the alias, write the note: each step can be done again after a crash."""
        version = claim.version
        assert version is not None  # else there was a refusal
        statement = self._statement(claim, version)
        folder = output or verdict_path(self._settings.store, claim.verdict.key[:16]).parent
        attestation, beside = folder / "attestation.json", folder / "release-note.md"
        data = encode(statement)
        self._verified(claim, version, data, str(attestation))
        who, why = whoever_runs_this(self._settings.store), reason_of(claim, words)
        previous = self._previous(claim, version)
        note_text = release_note.render(
            statement, claim.verdict, alias=claim.alias, previous=previous, reason=words, who=who
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(attestation, data)
            self._move(version, claim.alias, why)
            write_atomic(beside, note_text.encode())
        except OSError as error:
            raise EvidenceError(f"{error.filename or folder}: can't be written: {error.strerror}") from error
        done = msgspec.structs.replace(_result(claim, []), previous=previous)
        return msgspec.structs.replace(done, promoted=True, attestation=attestation, release_note=beside)

    def _previous(self, claim: Claim, version: ModelVersion) -> str | None:
        """Return the version that had the alias before, also if a crash came after the move."""
        if claim.holder is not None and claim.holder.version != version.version:
            return claim.holder.reference
        return None if claim.holder is None else claim.verdict.baseline.model

    def _statement(self, claim: Claim, version: ModelVersion) -> Statement:
        view = next((v for one in claim.verdict.candidate.runs if (v := self._run(one.run)) is not None), None)
        return make_statement(
            claim.verdict,
            version,
            candidate_tree=claim.candidate.tree or "",
            baseline_tree=claim.baseline.tree,
            data={} if view is None else facts_of(view).data,
            lock_sha256=self._lock_digest(),
        )

    def _lock_digest(self) -> str | None:
        beside = Path(self.judging.source.partition(" at ")[0]).with_name(_LOCK_FILE).as_posix()
        if beside not in self._repository.files(self._merged.commit):
            return None
        return hashlib.sha256(self._repository.text(self._merged.commit, beside).encode()).hexdigest()

    def _move(self, version: ModelVersion, alias: str, why: str) -> None:
        if alias == "production" and version.stage not in ("staging", "production"):
            self.registry.set_stage(version.name, version.version, "staging", reason=why)
        self.registry.set_alias(version.name, alias, version.version, reason=why)
