"""A model's file: its one spelling in bytes, and the checks that bytes from anywhere must pass.

The files are kept in git and merged by people, so the spelling is stable: one value a line, two
spaces, aliases and metrics sorted, versions and history in their order, a newline at the end.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import msgspec

from unitrack.errors import RegistryError
from unitrack.registry.changes import replay
from unitrack.registry.interface import check_alias, check_model_name
from unitrack.registry.state import SCHEMA_VERSION, ModelFile
from unitrack.schemas import load

__all__ = ["LARGEST_FILE", "REMEDY", "decode", "encode"]

LARGEST_FILE = 64 << 20
"""Bytes beyond which a file is not read: tens of thousands of versions are far below."""

_CONFLICT = re.compile(rb"^(?:<{7}|>{7}|\|{7}) ?|^={7}$", re.MULTILINE)
REMEDY = "restore it from git, or repair it by hand"


def encode(model: ModelFile) -> bytes:
    """Return the bytes of a model's file."""
    tree: dict[str, Any] = msgspec.to_builtins(model)
    tree["aliases"] = dict(sorted(tree["aliases"].items()))
    for version in tree["versions"]:
        version["metrics"] = dict(sorted(version["metrics"].items()))
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def decode(data: bytes, path: Path) -> ModelFile:
    """Return the model in `data`, checked whole; raise RegistryError naming `path`, the fault and the remedy."""
    tree = _parse(data, path)
    newer = tree.get("schema") if isinstance(tree, dict) else None
    if isinstance(newer, int) and newer > SCHEMA_VERSION:
        raise RegistryError(f"{path} was written by a newer unitrack (schema {newer}): upgrade unitrack to read it")
    _check_schema(tree, path)
    try:
        model = msgspec.convert(tree, ModelFile)
    except msgspec.ValidationError as error:  # what a schema can't say, such as a date that does not exist
        raise _fault(path, str(error)) from None
    _check_sense(model, path)
    return model


def _parse(data: bytes, path: Path) -> Any:
    if len(data) > LARGEST_FILE:
        raise _fault(path, f"it has {len(data):,} bytes, more than a registry file can have")
    conflict = _CONFLICT.search(data)
    if conflict is not None:
        line = data.count(b"\n", 0, conflict.start()) + 1
        raise RegistryError(
            f"{path}:{line}: git left conflict markers in this model: two branches changed it. Take one side whole "
            f"(git checkout --ours or --theirs -- {path}), then make the other side's changes again"
        )
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise _fault(path, f"it is not JSON: {str(error) or 'nested too deep'}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r:.80} stands twice in one object")
    return tree


def _no_constants(word: str) -> Any:
    raise ValueError(f'{word} is no JSON number; write "{word}" with quotes')


def _check_schema(tree: Any, path: Path) -> None:
    error = next(iter(sorted(_validator().iter_errors(tree), key=lambda error: len(error.absolute_path))), None)
    if error is not None:
        raise _fault(path, f"at {error.json_path}: {error.message:.300}")


@functools.cache
def _validator() -> Any:
    # Imported late: a training process that only looks a model up by chance should not pay for it at import.
    from jsonschema import Draft202012Validator

    return Draft202012Validator(load("model"))


def _check_sense(model: ModelFile, path: Path) -> None:
    """Check what the schema can't: versions count from 1, and the state is what the history amounts to."""
    if model.name != path.stem:
        raise _fault(path, f"it holds the model {model.name!r}; a file is named after its model")
    _check_words(model, path)
    numbers = [record.version for record in model.versions]
    if numbers != list(range(1, len(numbers) + 1)):
        raise _fault(path, f"its versions must be 1, 2, 3 ... without gaps, not {numbers!r:.80}")
    stages = {record.version: record.stage for record in model.versions if record.stage is not None}
    if list(stages.values()).count("production") > 1:
        raise _fault(path, "two versions are in production")
    registered, staged, aliases = replay(model.history)
    if registered != len(numbers) or any(change.version > registered for change in model.history):
        raise _fault(path, f"its history tells of {registered} versions, but it holds {len(numbers)}")
    if staged != stages:
        raise _fault(path, f"its history ends with the stages {staged!r:.200}, but its versions are in {stages!r:.200}")
    if aliases != model.aliases:
        raise _fault(path, f"its history ends with the aliases {aliases!r:.200}, but it holds {model.aliases!r:.200}")


def _check_words(model: ModelFile, path: Path) -> None:
    try:
        check_model_name(model.name)
        for alias in model.aliases:
            check_alias(alias)
    except RegistryError as error:
        raise _fault(path, str(error)) from None


def _fault(path: Path, what: str) -> RegistryError:
    return RegistryError(f"{path} is not a model of the registry: {what}; {REMEDY}")
