"""Write the tables of docs/compat.md from the code: `python docs/make_compat.py`."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from unitrack.compat._support import Namespace

PAGE = Path(__file__).with_name("compat.md")
MODULES = ("wandb", "mlflow", "neptune", "neptune_scale")
HIDDEN = ("self", "cls", "_", "_args", "_options", "args", "options")


def page(text: str) -> str:
    """Return the page with fresh tables between its markers."""
    for name in MODULES:
        module = importlib.import_module(f"unitrack.compat.{name}")
        table = "\n".join([*works(name, module), "", *refused(name, module)])
        before, begin, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        assert end, f"docs/compat.md has no place for {name}"
        text = f"{before}{begin}{table}\n{end}{after}"
    return text


def works(name: str, module: ModuleType) -> Iterator[str]:
    """Yield the rows of what a module does."""
    yield "| call | what it does here |"
    yield "| --- | --- |"
    seen: list[object] = []
    for word in sorted(module.__all__, key=str.lower):
        value = getattr(module, word)
        if word in ("run", "config", "summary"):
            continue
        for call, about in rows(f"{name}.{word}", value, seen):
            yield f"| {call} | {about} |"


def rows(path: str, value: object, seen: list[object]) -> Iterator[tuple[str, str]]:
    """Yield (call, what it does) of a value and, for a class or a part of a module, of what it holds."""
    if isinstance(value, (Namespace, ModuleType)):
        names = sorted(getattr(value, "__all__", None) or [name for name in vars(value) if not name.startswith("_")])
        for name in names:
            yield from rows(f"{path}.{name}", getattr(value, name), seen)
    elif isinstance(value, type) and not value.__module__.startswith("unitrack.compat"):
        yield f"`{path}`", f"`{value.__module__}.{value.__qualname__}`"
    elif value in seen:
        yield f"`{path}`", "the same by another name"
    elif isinstance(value, type):
        seen.append(value)
        yield f"`{path}{arguments(value)}`", about(value)
        for name, member in members(value):
            yield from rows(f"{path.rpartition('.')[2]}.{name}", member, seen)
    elif callable(value):
        yield f"`{path}{arguments(value)}`", about(value)
    elif isinstance(value, property):
        yield f"`{path}`", about(value)
    else:
        yield f"`{path}`", f"`{value!r}`"


def members(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties that a class of ours defines."""
    if issubclass(kind, dict) or hasattr(kind, "__struct_fields__"):
        return
    for name, member in vars(kind).items():
        if not name.startswith("_") and (callable(member) or isinstance(member, (property, classmethod))):
            yield name, getattr(kind, name) if isinstance(member, classmethod) else member


def arguments(value: object) -> str:
    """Return the names a call takes."""
    if isinstance(value, type) and issubclass(value, enum.Enum):
        return ""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(...)"
    names = [name for name in signature.parameters if name not in HIDDEN]
    return f"({', '.join(names)})" if names or callable(value) else ""


def about(value: object) -> str:
    """Return the first paragraph of what the code says of itself."""
    words = (value.__doc__ or "").partition("\n\n")[0]
    return " ".join(words.split()).replace("|", "\\|")


def refused(name: str, module: ModuleType) -> Iterator[str]:
    """Yield the rows of what a module refuses by name."""
    yield "| refused | use instead |"
    yield "| --- | --- |"
    for word, remedy in sorted(module.UNSUPPORTED.items()):
        yield f"| `{name}.{word}` | {remedy} |"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
