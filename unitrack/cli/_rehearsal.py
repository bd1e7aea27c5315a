"""All that a report would post, shown: on a laptop, or in a job that may not post yet."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from unitrack.ci import evidence, github_report, gitlab, publication, rehearsal, runner
from unitrack.ci.context import Context, Secret, read_context
from unitrack.ci.github import GitHub
from unitrack.ci.github import open_api as open_github
from unitrack.cli._places import places_of
from unitrack.cli._reporting import judged
from unitrack.errors import EvidenceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unitrack.ci.publication import Publication
    from unitrack.ci.rehearsal import Sent
    from unitrack.cli._reporting import Options

__all__ = ["rehearse"]

_NO_NUMBER = r"/0(?=/|$)"
_GITHUB, _GITLAB = "https://github.invalid", "https://gitlab.invalid"
_HEAD = "HEAD"


def rehearse(options: Options, *, number: int | None) -> Publication:
    """Print all that would be posted, and write and send nothing."""
    said = _said(options)
    shown = _on_gitlab if os.environ.get("GITLAB_CI") == "true" else _on_github
    text = "\n".join(shown(options, said, number))
    click.echo(runner.quoted(text) if os.environ.get("GITHUB_ACTIONS") == "true" else text)
    return said


def _said(options: Options) -> Publication:
    """Return what is to be said; of a stranger's evidence, without what only GitHub knows of its pull request."""
    places = places_of(options.settings)
    if options.evidence is None:
        return judged(options, places, frozenset())
    try:
        verdict = evidence.load(options.evidence)
    except EvidenceError as error:
        return publication.without_verdict(str(error), places=places)
    unseen = msgspec.structs.replace(verdict, evaluated_by=None)
    return publication.of_verdict(unseen, places=places, self_reported=True)


def _on_github(options: Options, said: Publication, number: int | None) -> Iterator[str]:
    context = _context(number, said.outputs["candidate"] or _HEAD)
    session, sent = rehearsal.rehearse(head=context.head_sha, author=options.names.author)
    api = open_github(_GITHUB, Secret(""), session=session)
    github_report.post(GitHub(api, context.repository), context, said, options.names, kinds=frozenset(options.posts))
    yield from _requests(sent)
    if not options.posts:
        body = publication.status_body(said, name=options.names.check, url=context.run_url)
        yield "# instead of the check run, if the token may not write one"
        yield f"POST /repos/{context.repository}/statuses/{context.head_sha}"
        yield _json(body)
    yield f"# job summary: {len(said.long_report.encode()):,} bytes, the same report with charts"
    yield f"# outputs\n{_json(dict(said.outputs))}"
    yield from ("# annotations of the job", *runner.annotate(said.annotations)) if said.annotations else ()
    yield f"# {len(sent)} calls, {github_report.CALLS} at most"


def _on_gitlab(options: Options, said: Publication, number: int | None) -> Iterator[str]:
    job = _job(number, said.outputs["candidate"] or _HEAD)
    session, sent = rehearsal.rehearse(head=job.head_sha, author="TOKEN-USER")
    api = gitlab.open_api(msgspec.structs.replace(job, api_url=_GITLAB, token=Secret("")), session=session)
    names = options.names
    gitlab.post(
        gitlab.GitLab(api, job.project), job, said, gate=names.gate, label=names.label, kinds=frozenset(options.posts)
    )
    yield from _requests(sent)
    yield f"# {len(sent)} calls"


def _requests(sent: list[Sent]) -> Iterator[str]:
    report = None
    for at, one in enumerate(sent, start=1):
        yield f"# call {at}\n{one.method} {re.sub(_NO_NUMBER, '/NUMBER', one.path)}"
        if one.body is not None and "body" in one.body:
            report = one.body["body"]
            yield report
        elif one.body is not None:
            yield _json(_without(one.body, report))


def _without(body: dict[str, Any], report: str | None) -> dict[str, Any]:
    """Leave out what was shown as the comment."""
    output = body.get("output")
    if report is None or output is None or output["summary"] not in report:
        return body
    return {**body, "output": {**output, "summary": "(the text of the comment)"}}


def _json(tree: Any) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False)


def _context(number: int | None, head: str) -> Context:
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
        sha=head,
        head_sha=head,
        number=number or 0,
        workflow="WORKFLOW",
        job="JOB",
    )


def _job(number: int | None, head: str) -> gitlab.Job:
    if os.environ.get("CI_COMMIT_SHA"):
        found = gitlab.read_job(os.environ)
        return msgspec.structs.replace(found, merge_request=number or found.merge_request)
    return gitlab.Job(
        project=1, api_url="", token=Secret(""), sha=head, head_sha=head, merge_request=number or 1, job="JOB"
    )
