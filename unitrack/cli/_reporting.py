"""What `unitrack ci report` does on GitHub, on GitLab, and on a laptop, where it only shows it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from unitrack import _settings_file
from unitrack.ci import evidence, github_report, gitlab, origin, publication, runner
from unitrack.ci.context import Context, Secret, read_context
from unitrack.ci.evidence import Base
from unitrack.ci.github import GitHub, Pull, open_api
from unitrack.ci.github_report import Done, Kind, Names
from unitrack.ci.publication import Places, Publication
from unitrack.cli._gating import settings_from
from unitrack.cli._output import note, text_of
from unitrack.errors import ConfigError, EvidenceError, UnitrackError, UsageError
from unitrack.gate import waivers
from unitrack.gate.policy import make_policy
from unitrack.gate.verdict import Verdict, read_verdict
from unitrack.rerun.git import find_repository
from unitrack.rerun.runner import log_tail

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unitrack.ci.http import Api
    from unitrack.config import Settings

__all__ = [
    "Options",
    "broken_settings",
    "fetch_head",
    "mask",
    "merged_pull",
    "newest",
    "rehearse",
    "report_on_github",
    "report_on_gitlab",
    "show_release_note",
]

_ERROR = "unitrack: error: "
_BOUND_TO_EVENT = ("pull_request", "pull_request_target", "merge_group", "push")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for. Without `posts` all is tried, and a lack of permission is no error."""

    settings: Settings
    verdict: Path | None = None
    evidence: Path | None = None
    posts: tuple[Kind, ...] = ()
    names: Names
    patience: float = 300.0
    gate_log: Path | None = None

    @property
    def kinds(self) -> frozenset[Kind]:
        """What is to be posted."""
        return frozenset(self.posts or github_report.PERMISSIONS)


def mask(token: Secret) -> None:
    """Have the runner blot out a token; elsewhere that would print it."""
    if token and os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(runner.command("add-mask", token.reveal()))


def report_on_github(options: Options) -> tuple[Publication, int]:
    """Report, and return what was said and the code to exit with."""
    context = read_context(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
    mask(context.token)
    places = _places(options.settings)
    api = open_api(context.api_url, context.token, patience=options.patience)
    try:
        hub = GitHub(api, context.repository)
        context, said = _said_or_summarised(options, context, hub, places)
        _tell_runner(options, context, said)
        done = _posted(options, context, hub, said)
    finally:
        api.close()
    return said, max(_code(done, strict=bool(options.posts)), 4 if said.outcome == "none" else 0)


def report_on_gitlab(options: Options) -> tuple[Publication, int]:
    """Report on GitLab, and return what was said and the code to exit with."""
    job = gitlab.read_job(os.environ)
    places = _places(options.settings)
    said = _judged(options, places, frozenset({job.sha, job.head_sha}))
    if not job.token:
        note("unitrack: warning: UNITRACK_GITLAB_TOKEN is not set (a fork's job has none): nothing is posted")
        return said, 4 if said.outcome == "none" else 0
    api: Api = gitlab.open_api(job, patience=options.patience)
    try:
        for line in gitlab.GitLab(api, job.project).report(job, said, gate=options.names.gate):
            note(line)
    finally:
        api.close()
    return said, 4 if said.outcome == "none" else 0


def rehearse(options: Options, *, number: int | None) -> Publication:
    """Print all that would be posted, and write and send nothing."""
    context = _context_or_stand_in(number)
    said = _judged(options, _places(options.settings), frozenset())
    text = "\n".join(_rehearsed(options, context, said))
    click.echo(runner.quoted(text) if context.on_runner else text)
    return said


def merged_pull() -> tuple[int, str] | None:
    """Return the number of the pull request that this push merged and the merged commit, None if there is none."""
    context = read_context(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
    mask(context.token)
    if context.event != "push":
        raise UsageError(f"`unitrack ci promote` is for `push` events, and this is {context.event or 'none'}")
    api = open_api(context.api_url, context.token)
    try:
        found = [
            pull
            for pull in GitHub(api, context.repository).pulls_of(context.head_sha)
            if pull.merge_commit == context.head_sha and pull.state == "closed"
        ]
    finally:
        api.close()
    if len(found) > 1:
        raise EvidenceError(f"{context.head_sha[:12]} is the merge of several pull requests: promote by hand")
    return (found[0].number, context.head_sha) if found else None


def fetch_head(settings: Settings, remote: str, number: int, *, unless: str | None = None) -> None:
    """Fetch the head of a pull request, which a squash or a rebase leaves out of the branch. Raises EvidenceError.

    Nothing is fetched if the commit `unless` is here.
    """
    repository = find_repository(settings.root)
    if unless is None or not repository.has(unless):
        repository.fetch(remote, f"refs/pull/{number}/head")


def show_release_note(folder: Path) -> None:
    """Append the release note to the job's summary, if both are there."""
    summary, text = os.environ.get("GITHUB_STEP_SUMMARY"), folder / "release-note.md"
    if summary and text.exists():
        runner.write_summary(summary, text.read_text(encoding="utf-8"))


def _said_or_summarised(options: Options, context: Context, hub: GitHub, places: Places) -> tuple[Context, Publication]:
    """Return what there is to say and where; if that can't be found out, the job's summary says why."""
    try:
        return _said(options, context, hub, places)
    except UnitrackError as error:
        if "summary" in context.files:
            text = publication.without_verdict(str(error), places=places).report
            runner.write_summary(context.files["summary"], text)
        raise


def _said(options: Options, context: Context, hub: GitHub, places: Places) -> tuple[Context, Publication]:
    if options.evidence is None:
        commits = origin.commits_of(context) if context.event in _BOUND_TO_EVENT else frozenset[str]()
        return context, _judged(options, places, commits)
    pull = origin.find_pull(hub, context)
    context = origin.for_pull(context, pull)
    try:
        verdict = _from_stranger(options, hub, context, pull)
    except EvidenceError as error:
        return context, publication.without_verdict(str(error), places=places)
    return context, publication.of_verdict(verdict, places=places, self_reported=verdict.evaluated_by is None)


def _from_stranger(options: Options, hub: GitHub, context: Context, pull: Pull) -> Verdict:
    assert options.evidence is not None
    verdict = evidence.load(options.evidence)
    base = _base(options.settings, hub, context, pull)
    evidence.check_subject(verdict, commits=origin.commits_of(context, pull), base=base, now=time.time())
    # Who evaluated is the sender's word too: nothing here has seen the evaluation.
    return msgspec.structs.replace(verdict, evaluated_by=None)


def _base(settings: Settings, hub: GitHub, context: Context, pull: Pull) -> Base:
    """Ask GitHub for the policy and the waivers of the branch that the pull request goes into."""
    path = _in_repository(settings.file or settings.root / "unitrack.toml")
    text = hub.text(path, pull.base_ref)
    source = f"{path} of {pull.base_ref}"
    if text is None:
        raise EvidenceError(f"{source}: there is no such file, so there is no policy to judge by")
    gate = settings_from(text, path.rpartition("/")[2], source).gate
    if gate is None:
        raise EvidenceError(f"{source}: there is no section [gate], so there is no policy to judge by")
    beside = f"{path.rpartition('/')[0]}/{waivers.WAIVER_FILE}".lstrip("/")
    reviewed = hub.text(beside, pull.base_ref)
    own = context.trigger is not None and pull.head_repository == pull.base_repository
    return Base(
        policy=make_policy(gate, source=source),
        waivers=() if reviewed is None else waivers.decode(reviewed.encode(), source=beside),
        head=pull.head_sha,
        branch=context.trigger.head_branch if own and context.trigger is not None else None,
    )


def _judged(options: Options, places: Places, commits: frozenset[str]) -> Publication:
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


def _posted(options: Options, context: Context, hub: GitHub, said: Publication) -> list[Done]:
    if context.fork and context.event == "pull_request":
        note("unitrack: a fork's token can't write here: the report is posted by the `workflow_run` job")
        return []
    if not context.token:
        note("unitrack: warning: there is no GITHUB_TOKEN: nothing is posted")
        return [Done(kind=kind, state="refused", text="no token") for kind in options.posts]
    done = github_report.post(hub, context, said, options.names, kinds=options.kinds)
    for one in done:
        note(f"{one.kind}: {one.state}: {text_of(one.text)}")
    return done


def _code(done: list[Done], *, strict: bool) -> int:
    bad = ("failed", "refused") if strict else ("failed",)
    return 4 if any(one.state in bad for one in done) else 0


def _rehearsed(options: Options, context: Context, said: Publication) -> Iterator[str]:
    home, names = f"/repos/{context.repository}", options.names
    number = "NUMBER" if context.number is None else str(context.number)
    if "comment" in options.kinds:
        yield f"# comment: POST or PATCH {home}/issues/{number}/comments"
        yield github_report.sticky_of(context, names).text(said.report)
    if "check" in options.kinds:
        bodies = publication.check_bodies(said, name=names.check, sha=context.head_sha, url=context.run_url)
        for at, body in enumerate(bodies):
            yield f"# check run: {f'PATCH {home}/check-runs/ID' if at else f'POST {home}/check-runs'}"
            yield _json({**body, "output": {**body["output"], "summary": "(the text of the comment)"}})
    if "status" in options.kinds:
        yield f"# status: POST {home}/statuses/{context.head_sha}"
        yield _json(publication.status_body(said, name=names.check, url=context.run_url))
    if "label" in options.kinds and names.label:
        yield f"# label {names.label}: {'added' if said.waived else 'removed if it is there'}"
    yield f"# job summary: {len(said.long_report.encode()):,} bytes, the same report with charts"
    yield f"# outputs\n{_json(dict(said.outputs))}"


def _json(tree: Any) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _context_or_stand_in(number: int | None) -> Context:
    """Return the workflow's context, or one with words where a laptop has none."""
    if os.environ.get("GITHUB_REPOSITORY"):
        found = read_context(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))
        return msgspec.structs.replace(found, number=number or found.number)
    return Context(
        event="",
        repository="OWNER/NAME",
        api_url="",
        server_url="",
        token=Secret(""),
        sha="HEAD",
        head_sha="HEAD",
        number=number,
        workflow="WORKFLOW",
        job="JOB",
    )


def _places(settings: Settings) -> Places:
    try:
        found = _settings_file.find(settings.root.resolve())
    except ConfigError as error:
        return Places(file=_in_repository(Path(error.file or "unitrack.toml")), gate=error.line or 1)
    if found is None:
        return Places()
    rules = found.tree.get("gate", {}).get("metrics", ())
    lines = {
        rule["name"]: found.lines.get(("gate", "metrics", at, "name"), found.lines.get(("gate", "metrics", at), 1))
        for at, rule in enumerate(rules)
        if isinstance(rule, dict) and isinstance(rule.get("name"), str)
    }
    return Places(file=_in_repository(found.path), gate=found.lines.get(("gate",), 1), metrics=lines)


def _in_repository(path: Path) -> str:
    """Return a path as the repository has it: below the nearest folder with `.git`, or else just its name."""
    path = path.resolve()
    root = next((folder for folder in path.parents if (folder / ".git").exists()), path.parent)
    return path.relative_to(root).as_posix()


def broken_settings(error: ConfigError) -> None:
    """Show a fault of the settings at its line, where the runner puts it on the page, and in the job's summary."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        file = _in_repository(Path(error.file)) if error.file else "unitrack.toml"
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            runner.write_summary(summary, publication.without_verdict(str(error), places=Places(file=file)).report)
        one = runner.Annotation(
            level="failure", path=file, line=error.line or 1, title="unitrack: settings", message=str(error)
        )
        click.echo(runner.annotate([one])[0])
