"""What a gate has to say to a forge, made from its verdict alone: title, report, check, status, outputs.

Pure. A gate without a verdict (training crashed, evidence refused) has its say too: it keeps the candidate out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.ci.runner import Annotation
from unitrack.gate.verdict import exit_code
from unitrack.report import markdown, summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unitrack.gate.verdict import Verdict

__all__ = ["LONGEST_BODY", "Places", "Publication", "check_bodies", "of_verdict", "status_body", "without_verdict"]

LONGEST_BODY = 60_000
"""Characters; GitHub takes 65,536 of a comment and 65,535 of a check's summary, and markers have to fit in, too."""

_MOST_BYTES = 65_000  # of a check's summary; whether GitHub's 65,535 are characters or bytes, it fits
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LONGEST_STATUS = 140
_LONGEST_MESSAGE = 2_000
_PER_REQUEST = 50  # annotations
_TITLES = {"pass": "Gate passed", "fail": "Gate failed", "undecided": "Gate undecided", "none": "Gate has no verdict"}
_SELF_REPORTED = (
    "> [!NOTE]\n> Self-reported: the pull request's own job trained and measured this, with what it is allowed to "
    "change. The policy, the commit and the arithmetic were checked here; the measurements were not.\n"
)


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where the policy stands: the settings file relative to the repository, and the line of each metric's rule."""

    file: str = "unitrack.toml"
    gate: int = 1
    metrics: Mapping[str, int] = {}


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """All that is said about one gate. `blocks` tells whether the candidate is kept out.

    `report` fits into a comment, `long_report` into a job's summary.
    """

    outcome: Literal["pass", "fail", "undecided", "none"]
    blocks: bool
    exit_code: int
    title: str
    sentence: str
    report: str
    long_report: str
    annotations: tuple[Annotation, ...] = ()
    waived: tuple[str, ...] = ()
    outputs: Mapping[str, str] = {}

    @property
    def conclusion(self) -> Literal["success", "failure", "neutral"]:
        """Return what a check run ends with: undecided is neutral unless the policy lets it block."""
        if self.blocks:
            return "failure"
        return "success" if self.outcome == "pass" else "neutral"


def of_verdict(verdict: Verdict, *, places: Places, self_reported: bool = False) -> Publication:
    """Say what a verdict says."""
    said = f"{_SELF_REPORTED}\n" if self_reported else ""
    title = _TITLES[verdict.outcome] + (" (self-reported)" if self_reported else "")
    return Publication(
        outcome=verdict.outcome,
        blocks=verdict.outcome == "fail" or (verdict.outcome == "undecided" and verdict.blocks),
        exit_code=exit_code(verdict),
        title=title,
        sentence=_plain(verdict.summary, 500),
        report=said + _fitting(verdict, LONGEST_BODY - len(said)),
        long_report=said + summary.render(verdict),
        annotations=tuple(_annotations(verdict, places)),
        waived=tuple(one.name for one in verdict.metrics if one.waived is not None),
        outputs={
            "verdict": verdict.outcome,
            "candidate": _commit(verdict.candidate.commit),
            "baseline": _commit(verdict.baseline.commit),
        },
    )


def _fitting(verdict: Verdict, limit: int) -> str:
    """Return the report in `limit` characters and in the bytes that a check takes."""
    text = markdown.render(verdict, limit=limit)
    size = len(text.encode())
    return text if size <= _MOST_BYTES else markdown.render(verdict, limit=len(text) * _MOST_BYTES // (size + 1))


def _commit(text: str) -> str:
    """Return a commit's id, and nothing in place of what a stranger may have put there."""
    return text if _COMMIT.fullmatch(text) else ""


def without_verdict(reason: str, *, places: Places) -> Publication:
    """Say that there is no verdict and why; that is never a pass."""
    short = _plain(reason, _LONGEST_MESSAGE)
    report = f"## ⛔ {_TITLES['none']}\n\n{markdown.escape(short)}\n\nNothing was judged, so nothing is let in.\n"
    return Publication(
        outcome="none",
        blocks=True,
        exit_code=4,
        title=_TITLES["none"],
        sentence=short,
        report=report,
        long_report=report,
        annotations=(
            Annotation(level="failure", path=places.file, line=places.gate, title=_TITLES["none"], message=short),
        ),
        outputs={"verdict": "none", "candidate": "", "baseline": ""},
    )


def check_bodies(
    publication: Publication, *, name: str, sha: str, url: str | None, requests: int = 3
) -> list[dict[str, Any]]:
    """Return the body that creates the check run, and those that add the annotations that don't fit into it.

    There are at most `requests`; of more annotations than they can hold the last are left out, which the summary says.
    """
    shown = [_shown(one) for one in publication.annotations]
    kept = shown[: requests * _PER_REQUEST]
    left = len(shown) - len(kept)
    note = f"\n{left} more annotations are not shown here; the report names all of them.\n" if left else ""
    output = {"title": publication.title, "summary": publication.report + note}
    pages = [kept[at : at + _PER_REQUEST] for at in range(0, len(kept), _PER_REQUEST)] or [[]]
    first = {
        "name": name,
        "head_sha": sha,
        "status": "completed",
        "conclusion": publication.conclusion,
        **({"details_url": url} if url else {}),
        "output": {**output, "annotations": pages[0]},
    }
    return [first, *({"output": {**output, "annotations": page}} for page in pages[1:])]


def status_body(publication: Publication, *, name: str, url: str | None) -> dict[str, Any]:
    """Return the body of a commit status; it has no neutral state, so what doesn't block is a success."""
    state = "error" if publication.outcome == "none" else "failure" if publication.blocks else "success"
    description = _plain(f"{publication.title}. {publication.sentence}", _LONGEST_STATUS)
    return {"state": state, "context": name, "description": description, **({"target_url": url} if url else {})}


def _annotations(verdict: Verdict, places: Places) -> Iterator[Annotation]:
    levels: Mapping[str, Literal["failure", "warning"]] = {"fail": "failure", "undecided": "warning"}
    for one in verdict.metrics:
        if one.decision in levels:
            yield Annotation(
                level="warning" if one.waived is not None else levels[one.decision],
                path=places.file,
                line=places.metrics.get(one.name, places.gate),
                title=_plain(f"{one.name}: {one.decision}", 255),
                message=_plain(one.reason, _LONGEST_MESSAGE),
            )
    for flag in verdict.flags:
        title = f"The {flag.kind.replace('_', ' ')} was changed"
        yield Annotation(
            level="warning",
            path=places.file,
            line=places.gate,
            title=title,
            message=_plain(flag.text, _LONGEST_MESSAGE),
        )


def _shown(one: Annotation) -> dict[str, Any]:
    return {
        "path": one.path,
        "start_line": one.line,
        "end_line": one.line,
        "annotation_level": one.level,
        "title": one.title,
        "message": one.message,
    }


def _plain(text: str, longest: int) -> str:
    """Return foreign text as one line without control characters."""
    line = "".join(c if c.isprintable() else " " for c in text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"
