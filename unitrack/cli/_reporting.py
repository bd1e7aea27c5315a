"""What `unitrack ci report` does on GitHub and on GitLab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from unitrack.ci import github_report, gitlab, origin, publication, runner
from unitrack.ci.context import Context, Secret, read_context
from unitrack.ci.github import GitHub, open_api
from unitrack.ci.github_report import Names, Seen
from unitrack.ci.posting import Done, Kind
from unitrack.ci.publication import Places, Publication
from unitrack.cli import _strangers
from unitrack.cli._output import note, text_of
from unitrack.cli._places import places_of
from unitrack.errors import EvidenceError, UnitrackError, UsageError
from unitrack.gate.verdict import read_verdict
from unitrack.rerun.runner import log_tail

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unitrack.config import Settings

__all__ = ["Options", "judged", "mask", "newest", "report_on_github", "report_on_gitlab"]

_ERROR = "unitrack: error: "
_BOUND_TO_EVENT = ("pull_request", "pull_request_target", "merge_group", "push", "workflow_run")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for. Without `posts` all is tried, and a lack of permission is no error."""

    settings: Settings
    verdict: Path | None = None
    evidence: Path | None = None
    posts: tuple[Kind, ...] = ()
    names: Names
    patience: float = 300.0
    gate_log: Path | None = None


def mask(token: Secret) -> None:
    """Have the runner blot out a token; elsewhere that would print it."""
    if token and os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(runner.command("add-mask", token.reveal()))


class _Case(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say, where, and the pull request as it was when that was found out."""

    context: Context
    said: Publication
    seen: Seen | None = None


def report_on_github(options: Options) -> tuple[Publication, int]:
    """Report, and return what was said and the code to exit with."""
    context = read_context(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
    mask(context.token)
    api = open_api(context.api_url, context.token, patience=options.patience)
    try:
        hub = GitHub(api, context.repository)
        case = _found_out_or_summarised(options, context, hub)
        _tell_runner(options, case.context, case.said)
        done = _posted(options, case, hub)
    finally:
        api.close()
    return case.said, _code(options, case.said, done)


def report_on_gitlab(options: Options) -> tuple[Publication, int]:
    """Report on GitLab, and return what was said and the code to exit with."""
    if "check" in options.posts:
        raise UsageError("GitLab has no check runs: use --post status")
    job = gitlab.read_job(os.environ)
    said = judged(options, places_of(options.settings), frozenset({job.sha, job.head_sha}))
    if not job.token:
        note("unitrack: warning: GITLAB_TOKEN is not set (a fork's job has none): nothing is posted")
        return said, _code(options, said, _refused(options))
    api = gitlab.open_api(job, patience=options.patience)
    names = options.names
    try:
        hub = gitlab.GitLab(api, job.project)
        done = gitlab.post(hub, job, said, gate=names.gate, label=names.label, kinds=frozenset(options.posts))
    finally:
        api.close()
    _tell(done)
    return said, _code(options, said, done)


def judged(options: Options, places: Places, commits: frozenset[str]) -> Publication:
    """Return what the verdict on disk says; that it is missing, broken or another commit's is said, too."""
    try:
        verdict = read_verdict(options.verdict or newest(options.settings))
        if commits and verdict.candidate.commit not in commits:
            raise EvidenceError(
                f"the verdict is about {verdict.candidate.commit[:12]}, and this run about "
                f"{' or '.join(sorted(one[:12] for one in commits))}: gate this commit"
            )
    except EvidenceError as error:
        return publication.without_verdict(_last_error(options.gate_log) or str(error), places=places)
    return publication.of_verdict(verdict, places=places)


def _last_error(log: Path | None) -> str | None:
    """Return what a gate ended with, by its own output; None if that doesn't tell."""
    if log is None or not log.is_file():
        return None
    said = [line for line in log_tail(log, 200) if line.startswith(_ERROR)]
    return said[-1].removeprefix(_ERROR) if said else None


def newest(settings: Settings) -> Path:
    """Return the newest verdict of the store. Raises EvidenceError if it has none."""
    found = sorted((settings.store / "gate").glob("*/verdict.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise EvidenceError(f"{settings.store} has no verdict: the gate did not come to one, see its log")
    return found[-1]


def _found_out_or_summarised(options: Options, context: Context, hub: GitHub) -> _Case:
    """Return what there is to say and where; if that can't be found out, the job's summary says why."""
    places = places_of(options.settings)
    try:
        return _found_out(options, context, hub, places)
    except UnitrackError as error:
        if "summary" in context.files:
            text = publication.without_verdict(str(error), places=places).report
            runner.write_summary(context.files["summary"], text)
        raise


def _found_out(options: Options, context: Context, hub: GitHub, places: Places) -> _Case:
    if options.evidence is None:
        commits = origin.commits_of(context) if context.event in _BOUND_TO_EVENT else frozenset[str]()
        return _Case(context=context, said=judged(options, places, commits))
    pull = origin.find_pull(hub, context)
    seen, context = Seen(pull=pull, at=hub.api.clock()), origin.for_pull(context, pull)
    try:
        verdict = _strangers.verdict_of(options.evidence, options.settings, hub, context, pull)
    except EvidenceError as error:
        return _Case(context=context, said=publication.without_verdict(str(error), places=places), seen=seen)
    return _Case(context=context, said=publication.of_verdict(verdict, places=places, self_reported=True), seen=seen)


def _tell_runner(options: Options, context: Context, said: Publication) -> None:
    """Write summary and outputs first: they need no network and no permission."""
    if "summary" in context.files:
        runner.write_summary(context.files["summary"], said.long_report)
    if "output" in context.files:
        path = None if said.outcome == "none" or options.evidence else options.verdict or newest(options.settings)
        paths = {
            "verdict-path": "" if path is None else str(path.resolve()),
            "report-path": "" if path is None else str(path.resolve().with_name("report.md")),
        }
        runner.write_outputs(context.files["output"], {**said.outputs, **paths})
    if context.on_runner:
        for line in runner.annotate(said.annotations):
            click.echo(line)


def _posted(options: Options, case: _Case, hub: GitHub) -> list[Done]:
    context, judged_commit = case.context, case.said.outputs["candidate"]
    if context.fork and context.event == "pull_request":
        note("unitrack: a fork's token can't write here: the report is posted by the `workflow_run` job")
        return []
    if case.seen is None and judged_commit and judged_commit not in origin.commits_of(context):
        note(f"unitrack: nothing is posted: the verdict is about {judged_commit[:12]}, this run about another commit")
        return _refused(options)
    if not context.token:
        note("unitrack: warning: there is no GITHUB_TOKEN: nothing is posted")
        return _refused(options)
    done = github_report.post(hub, context, case.said, options.names, kinds=frozenset(options.posts), seen=case.seen)
    _tell(done)
    return done


def _refused(options: Options) -> list[Done]:
    return [Done(kind=kind, state="refused", text="not posted") for kind in options.posts]


def _tell(done: Iterable[Done]) -> None:
    for one in done:
        note(runner.harmless(f"{one.kind}: {one.state}: {text_of(one.text)}"))


def _code(options: Options, said: Publication, done: Iterable[Done]) -> int:
    bad = ("failed", "refused") if options.posts else ("failed",)
    return 4 if said.outcome == "none" or any(one.state in bad for one in done) else 0
