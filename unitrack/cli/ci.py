"""`unitrack ci`: what a gate's verdict says to a code forge, and what crosses from a stranger's job."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import click

from unitrack.ci import evidence
from unitrack.ci.github import BOT
from unitrack.ci.github_report import PERMISSIONS, Names
from unitrack.ci.posting import Kind
from unitrack.cli import _merging, _places, _rehearsal, _reporting
from unitrack.cli import promote as promoting
from unitrack.cli._output import note
from unitrack.cli._reporting import Options
from unitrack.config import load_settings
from unitrack.errors import ConfigError, EvidenceError, UsageError
from unitrack.gate.verdict import Verdict, read_verdict

__all__ = ["command"]

_file = click.Path(path_type=Path)
_verdict = click.option("--verdict", type=_file, metavar="FILE", help="The verdict.json; the store's newest.")


def _shared(command: Any) -> Any:
    for option in (
        click.option("--gate", default="gate", show_default=True, metavar="NAME", help="Tells gates of one job apart."),
        click.option("--pull-request", type=click.IntRange(min=1), metavar="N", help="With --dry-run: its number."),
        _verdict,
    ):
        command = option(command)
    return command


@click.group(name="ci", invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Print all that `ci report` would post; works anywhere.")
@_shared
@click.pass_context
def command(
    context: click.Context, *, dry_run: bool, verdict: Path | None, gate: str, pull_request: int | None
) -> None:
    """Report a verdict to GitHub or GitLab, and carry evidence of pull requests from forks."""
    if context.invoked_subcommand is not None:
        return
    if not dry_run:
        raise UsageError("`unitrack ci` alone only rehearses: add --dry-run, or see `unitrack ci --help`")
    options = Options(settings=load_settings(), verdict=verdict, names=Names(gate=gate, author=BOT))
    _rehearsal.rehearse(options, number=pull_request)


@command.command()
@_shared
@click.option("--evidence", "path", type=_file, metavar="DIR|ZIP", help="What `ci collect` wrote in an untrusted job.")
@click.option(
    "--post", "posts", multiple=True, type=click.Choice(list(PERMISSIONS)), help="Only this, and it must work."
)
@click.option("--author", default=BOT, show_default=True, metavar="LOGIN", help="Whose comments are ours.")
@click.option("--label", default="gate-waived", show_default=True, metavar="NAME", help="Marks a waived failure.")
@click.option("--patience", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Seconds for retries.")
@click.option("--gate-log", type=_file, metavar="FILE", help="What the gate said; told where it left no verdict.")
@click.option("--enforce", is_flag=True, help="End with 1 if the candidate is kept out.")
@click.option("--exit-code", is_flag=True, help="End as `unitrack gate` does: 0 pass, 1 fail, 3 undecided.")
@click.option("--dry-run", is_flag=True, help="Print all that would be posted, and post nothing.")
def report(
    *,
    verdict: Path | None,
    gate: str,
    pull_request: int | None,
    path: Path | None,
    posts: tuple[str, ...],
    author: str,
    label: str,
    patience: float,
    gate_log: Path | None,
    enforce: bool,
    exit_code: bool,
    dry_run: bool,
) -> None:
    """Post a verdict: comment, check run, commit status, label, job summary, outputs.

    Reads where it is from the environment of GitHub Actions or GitLab CI. Ends with 0 once reported, whatever the
    verdict is, and with 4 if there is none or it could not be posted.
    """
    try:
        settings = load_settings()
    except ConfigError as error:
        _places.broken_settings(error)
        raise
    options = Options(
        settings=settings,
        verdict=verdict,
        evidence=path,
        posts=tuple(cast("Kind", one) for one in posts),
        names=Names(gate=gate, author=author, label=label or None),
        patience=patience,
        gate_log=gate_log,
    )
    if dry_run:
        said, code = _rehearsal.rehearse(options, number=pull_request), 0
    elif os.environ.get("GITLAB_CI") == "true":
        said, code = _reporting.report_on_gitlab(options)
    else:
        said, code = _reporting.report_on_github(options)
    wanted = said.exit_code if exit_code else int(enforce and said.blocks)
    click.get_current_context().exit(code or wanted)


@command.command()
@_verdict
@click.option(
    "--output", type=_file, default=Path("gate-evidence"), show_default=True, metavar="DIR", help="A folder of its own."
)
def collect(*, verdict: Path | None, output: Path) -> None:
    """Write the evidence of an untrusted job into a folder of its own: one verdict.json, nothing that runs."""
    path = verdict or _reporting.newest(load_settings())
    try:
        note(f"evidence: {evidence.collect(read_verdict(path), output)}")
    except OSError as error:
        raise EvidenceError(f"{output}: can't be written: {error.strerror}") from error


@command.command()
@_verdict
@click.option("--model", metavar="NAME", help="The model; [gate].model unless given.")
@click.option("--run", "run_id", metavar="RUN", help="Register this run's model first.")
@click.option("--register", is_flag=True, help="Register the model of the verdict's first run first.")
@click.option("--alias", default="production", show_default=True, metavar="NAME", help="What the version becomes.")
@click.option(
    "--remote", default="origin", show_default=True, metavar="NAME", help="Where the gated commit is fetched."
)
@click.option("--policy-ref", metavar="REF", help="Whose policy and waivers count; the merged commit's unless given.")
@click.option("--attestation", type=_file, metavar="FILE", help="Promote only if this attestation holds, too.")
@click.option("--output", type=_file, metavar="DIR", help="Write attestation and release note here.")
@click.option("--dry-run", is_flag=True, help="Check all, change nothing.")
@click.pass_context
def promote(
    context: click.Context,
    *,
    verdict: Path | None,
    model: str | None,
    run_id: str | None,
    register: bool,
    alias: str,
    remote: str,
    policy_ref: str | None,
    attestation: Path | None,
    output: Path | None,
    dry_run: bool,
) -> None:
    """Promote the model of the pull request that a push merged, by `unitrack promote`.

    Asks GitHub which pull request a push to the default branch merged and fetches what was gated, so that its content
    can be compared with what was merged. Ends with 1 if the alias may not move, with 0 if nothing was merged.
    """
    merged = _merging.merged_pull()
    if merged is None:
        note("no pull request was merged by this push: nothing is promoted")
        return
    number, sha = merged
    judged = None if verdict is None else read_verdict(verdict)
    _merging.fetch_gated(load_settings(), remote, number, gated=None if judged is None else judged.candidate.commit)
    if register:
        run_id = run_id or _first_run(judged)
    folder = output or Path("promotion")
    shared = {
        "verdict": verdict,
        "model": model,
        "run_id": run_id,
        "alias": alias,
        "ref": sha,
        "policy_ref": policy_ref,
    }
    if attestation is not None:
        context.invoke(promoting.command, **shared, verify=attestation)
    reason = f"merged by #{number}"
    context.invoke(promoting.command, **shared, reason=reason, output=folder, dry_run=dry_run)
    _merging.show_release_note(folder)


def _first_run(verdict: Verdict | None) -> str:
    """Return the run of the candidate's first seed: which of its models is promoted must not be a choice."""
    if verdict is None:
        raise UsageError("--register needs --verdict FILE: the model is that of its first run")
    if not verdict.candidate.runs:
        raise EvidenceError("the verdict names no run of the candidate: there is no model to register")
    return verdict.candidate.runs[0].run
