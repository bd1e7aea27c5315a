"""Models, their versions and aliases: which run's artifact is in production, and who said so and why."""

from unitrack.registry.interface import (
    STAGES,
    ModelRegistry,
    ModelVersion,
    Reference,
    Stage,
    check_model_name,
    parse_reference,
)
from unitrack.registry.local import Registry
from unitrack.registry.state import Change

__all__ = [
    "STAGES",
    "Change",
    "ModelRegistry",
    "ModelVersion",
    "Reference",
    "Registry",
    "Stage",
    "check_model_name",
    "parse_reference",
]
