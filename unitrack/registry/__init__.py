"""Models, their versions and aliases: which run's artifact is in production, and who said so and why."""

from unitrack.registry.base import Registry
from unitrack.registry.interface import (
    STAGES,
    ModelVersion,
    Reference,
    Stage,
    check_model_name,
    parse_reference,
)
from unitrack.registry.local import LocalRegistry
from unitrack.registry.opening import open_registry
from unitrack.registry.state import Change

__all__ = [
    "STAGES",
    "Change",
    "LocalRegistry",
    "ModelVersion",
    "Reference",
    "Registry",
    "Stage",
    "check_model_name",
    "open_registry",
    "parse_reference",
]
