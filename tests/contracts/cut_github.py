"""Cut the part of GitHub's published API description that unitrack's requests are checked against.

    npm pack @octokit/openapi && tar xzf octokit-openapi-*.tgz
    python tests/contracts/cut_github.py package/package.json package/generated/api.github.com.json

writes `github.json` beside this file: the operations listed here with all that they refer to, words for people left
out. The description is GitHub's, packaged by the Octokit project, both under the MIT licence.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CUT = Path(__file__).with_name("github.json")
OPERATIONS = (
    ("/repos/{owner}/{repo}/check-runs", "post"),
    ("/repos/{owner}/{repo}/check-runs/{check_run_id}", "patch"),
    ("/repos/{owner}/{repo}/commits/{commit_sha}/pulls", "get"),
    ("/repos/{owner}/{repo}/contents/{path}", "get"),
    ("/repos/{owner}/{repo}/issues/comments/{comment_id}", "delete"),
    ("/repos/{owner}/{repo}/issues/comments/{comment_id}", "patch"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/comments", "get"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/comments", "post"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/labels", "post"),
    ("/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", "delete"),
    ("/repos/{owner}/{repo}/pulls", "get"),
    ("/repos/{owner}/{repo}/pulls/{pull_number}", "get"),
    ("/repos/{owner}/{repo}/statuses/{sha}", "post"),
)
WORDS = {"description", "summary", "externalDocs", "tags", "title"}


def cut(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description of OPERATIONS alone."""
    paths: dict[str, Any] = {}
    for path, method in OPERATIONS:
        found = description["paths"][path]
        kept = paths.setdefault(path, {key: found[key] for key in ("parameters",) if key in found})
        kept[method] = _operation(found[method], description["components"]["examples"])
    return {
        "openapi": description["openapi"],
        "info": {key: description["info"][key] for key in ("title", "version", "license")},
        "servers": [{"url": "https://api.github.com"}],
        "paths": paths,
        "components": _components(paths, description["components"]),
    }


def _operation(found: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """Keep what is sent, and what comes back with one example of each answer."""
    kept = {key: found[key] for key in ("operationId", "parameters", "requestBody") if key in found}
    kept["responses"] = {code: answer for code, answer in found["responses"].items() if code not in ("304", "503")}
    kept = _without_words(kept)
    for code, answer in kept["responses"].items():
        shown = found["responses"][code].get("content", {}).get("application/json", {}).get("examples")
        if code.startswith("2") and shown:
            first = next(iter(shown.values()))
            name = first.get("$ref", "").rpartition("/")[2]
            answer["content"]["application/json"]["example"] = (examples[name] if name else first)["value"]
    return kept


def _without_words(node: Any, inside: str = "") -> Any:
    if isinstance(node, list):
        return [_without_words(item) for item in node]
    if not isinstance(node, dict):
        return node
    named = inside in ("properties", "schemas", "responses", "parameters", "headers")  # its keys are names, not words
    kept = {
        key: _without_words(value, key)
        for key, value in node.items()
        if named or not (key in WORDS or key.startswith("x-") or key in ("example", "examples"))
    }
    if inside == "responses":  # each must have a description, be it empty
        kept = {name: answer if "$ref" in answer else {"description": "", **answer} for name, answer in kept.items()}
    return kept


def _components(paths: dict[str, Any], every: dict[str, Any]) -> dict[str, Any]:
    """Collect what is referred to, again and again until nothing new is."""
    kept: dict[str, dict[str, Any]] = {}
    waiting = list(_references(paths))
    while waiting:
        kind, name = waiting.pop().removeprefix("#/components/").split("/", 1)
        if name in kept.setdefault(kind, {}):
            continue
        kept[kind].update(_without_words({name: every[kind][name]}, kind))
        waiting += _references(kept[kind][name])
    return {kind: dict(sorted(names.items())) for kind, names in sorted(kept.items())}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _main(package: str, description: str) -> None:
    about = json.loads(Path(package).read_text())
    made = cut(json.loads(Path(description).read_text()))
    source = {"package": about["name"], "version": about["version"], "licence": about["license"]}
    made["info"]["x-source"] = {**source, "cut_by": "tests/contracts/cut_github.py"}
    CUT.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
