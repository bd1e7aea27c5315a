"""The JSON Schemas unitrack ships, and how they are made from its types.

`python -m unitrack.schemas` rewrites the generated ones in a checkout; a test fails on any difference.
"""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from unitrack.files import write_atomic

__all__ = ["GENERATED", "generate", "load"]

# Schema name -> title and the type it is made from, imported only when it is generated.
GENERATED = {
    "attestation": ("The attestation of a model by a unitrack gate", "unitrack.gate.attestation:Statement"),
    "audit": ("The result of a unitrack audit", "unitrack.audit:Audit"),
    "check": ("The result of a unitrack check", "unitrack.monitor:Check"),
    "event": ("One line of a unitrack journal", "unitrack.events:Known"),
    "lock": ("The lock file of a unitrack project", "unitrack.rerun.lock:Lock"),
    "model": ("A model of the local registry", "unitrack.registry.state:ModelFile"),
    "policy": ("The section [gate] of a unitrack settings file", "unitrack.config:GateSettings"),
    "verdict": ("The result of a unitrack gate", "unitrack.gate.verdict:Verdict"),
    "waivers": ("The waivers of a project's gate", "unitrack.gate.waivers:WaiverFile"),
}
_CHECKOUT = Path(__file__).parent.parent / "schemas"


def load(name: str) -> dict[str, Any]:
    """Read the schema `name`, such as `event`, from the installed package or the checkout.

    Raises FileNotFoundError if there is none of that name.
    """
    file = f"{name}.schema.json"
    packaged = importlib.resources.files("unitrack") / "_schemas" / file
    source = packaged if packaged.is_file() else _CHECKOUT / file
    schema: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return schema


def generate(name: str) -> bytes:
    """Make the text of the schema `name` from its type. Raises KeyError for a schema that isn't generated."""
    title, source = GENERATED[name]
    module, _, attribute = source.partition(":")
    schema = msgspec.json.schema(getattr(importlib.import_module(module), attribute))
    schema.pop("discriminator", None)  # OpenAPI's word; strict JSON Schema validators refuse it
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:unitrack:schema:{name}",
        "title": title,
    }
    return json.dumps(_tidy({**head, **schema}), indent=2, ensure_ascii=False).encode() + b"\n"


def _tidy(node: Any) -> Any:
    """Take the source's indentation out of the descriptions."""
    if isinstance(node, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _tidy(value)
            for key, value in node.items()
        }
    return [_tidy(item) for item in node] if isinstance(node, list) else node


def _main() -> None:
    for name in GENERATED:
        write_atomic(_CHECKOUT / f"{name}.schema.json", generate(name), durable=False)


if __name__ == "__main__":
    _main()
