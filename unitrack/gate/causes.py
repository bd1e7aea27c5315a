"""Name what most probably moved the numbers, and say why. Pure."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

import msgspec

__all__ = ["Sources", "differ_in_constants", "likely_cause"]

# From the most to the least probable: what the model learned from and how, then what it ran on.
_REASONS = {
    "data": "the model learned from, or was measured on, other examples",
    "params": "these are what a run says it was trained with",
    "code": "the files that changed take part in training",
    "packages": "other versions of libraries compute otherwise",
    "image": "another image brings other libraries",
    "hardware": "another processor adds up in another order, and budgets of time depend on it",
    "seeds": "the pairs don't share their random numbers",
}
_DOCUMENTS = (".md", ".rst", ".png", ".svg", ".jpg", ".gif", ".pdf")
_DOCUMENT_NAMES = ("license", "notice", "codeowners", ".gitignore", ".gitattributes", ".editorconfig")
_CONFIGURATION = (".yaml", ".yml", ".toml", ".json", ".ini", ".cfg", ".conf", ".env", ".gin", ".properties")
_DATA = (
    ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".jsonl", ".npy", ".npz", ".h5", ".hdf5", ".dvc", ".txt", ".gz",
    ".zip", ".tar", ".pkl", ".pt", ".safetensors", ".json",
)  # fmt: skip
_IMAGE_NAMES = ("dockerfile", "containerfile", "unitrack.lock", ".dockerignore")
_PACKAGE_NAMES = (
    "pyproject.toml", "setup.py", "setup.cfg", "uv.lock", "poetry.lock", "pdm.lock", "pipfile", "pipfile.lock",
    "conda-lock.yml", "environment.yml", "environment.yaml", "pixi.toml", "pixi.lock",
)  # fmt: skip
_LARGEST_SOURCE = 1 << 20  # bytes; a longer file is not parsed


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs: by kind in words, and files; `constants` are files in which only values differ."""

    named: Mapping[str, Sequence[str]]
    files: Sequence[str] = ()
    constants: Collection[str] = ()


def likely_cause(sources: Sources, *, same: bool) -> str:
    """Name the most probable cause with its reason, alone if nothing else differs."""
    found = {kind: list(words) for kind, words in sources.named.items() if words}
    code = [file for file in sources.files if not _explained(file, sources)]
    if code:
        found["code"] = code
    ranked = [kind for kind in _REASONS if found.get(kind)]
    if ranked:
        return _sentence(ranked, found, sources)
    if same:
        return "Candidate and baseline are the same commit and recorded the same: a difference is noise."
    if sources.files:
        return f"Nothing that takes part in training differs ({_some(sources.files)} changed): a difference is noise."
    return "Nothing that was recorded differs: noise, or something no run captures."


def _sentence(ranked: Sequence[str], found: Mapping[str, Sequence[str]], sources: Sources) -> str:
    first, *rest = ranked
    where = [file for file in sources.files if first != "code" and _explained(file, sources) == first]
    set_in = f", in {_some(where)}" if where else ""
    named = f"{first} ({_some(found[first])}{set_in})"
    if not rest:
        return f"Only one thing differs: {named}; {_REASONS[first]}."
    others = "; ".join(f"{kind} ({_some(found[kind])})" for kind in rest)
    return f"Most likely {named}: {_REASONS[first]}. Also changed: {others}."


def _explained(file: str, sources: Sources) -> str | None:
    """Return the kind of change that a changed file is but the vehicle of; None if it counts as code."""
    path = PurePosixPath(file.lower())
    if path.suffix in _DOCUMENTS or path.name in _DOCUMENT_NAMES or path.stem in _DOCUMENT_NAMES:
        return "documents"
    packages = path.name in _PACKAGE_NAMES or (path.stem.startswith(("requirements", "constraints")))
    for kind, fits in (
        ("image", path.name in _IMAGE_NAMES or path.name.startswith(("dockerfile", "containerfile"))),
        ("packages", packages),
        ("data", path.suffix in _DATA and not packages),
        ("params", path.suffix in _CONFIGURATION or file in sources.constants),
    ):
        if fits and sources.named.get(kind):
            return kind
    return None


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def differ_in_constants(old: str, new: str) -> bool:
    """Tell whether two Python sources are the same but for numbers, texts and other constants."""
    if max(len(old), len(new)) > _LARGEST_SOURCE:
        return False
    try:
        return _shape(old) == _shape(new)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _shape(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value, node.kind = 0, None
    return ast.dump(tree)
