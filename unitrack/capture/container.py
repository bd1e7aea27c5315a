"""Capture the container training runs in, and its image by digest, as far as it can be known from inside.

    {"engine": "podman", "image": "ghcr.io/o/train@sha256:<hex>", "image_digest": "sha256:<hex>",
     "source": "UNITRACK_IMAGE"}

No engine tells a container its image: `unitrack rerun` says it in the variable UNITRACK_IMAGE, which any `docker run
-e` or pod can do, too. Podman writes it into a file for privileged containers, Singularity names the image's file.
Outside of a container, and without the variable, there is nothing to tell.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ContainerCollector"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_CONTAINER_ID = re.compile(r"(?:docker|containers|libpod|crio|cri-containerd)[-/]([0-9a-f]{64})")
_SETTING = re.compile(r'^(\w+)="?([^"\n]*)"?$', re.MULTILINE)


class ContainerCollector:
    """Reads variables and files; asks no engine. `root` stands in for `/` in tests."""

    name = "container"

    def __init__(self, root: Path = Path("/"), variables: Mapping[str, str] | None = None) -> None:
        self._root = root
        self._variables = os.environ if variables is None else variables

    def collect(self) -> dict[str, Any]:
        """Return what is known of the container."""
        written = dict(_SETTING.findall(self._read("run/.containerenv")))
        image, source = self._image(written)
        facts = {
            "engine": self._engine(written),
            "image": image,
            "image_digest": _digest(image) or _digest(written.get("imageid")),
            "source": source,
            "id": self._id(written),
        }
        return {name: value for name, value in facts.items() if value}

    def _image(self, written: Mapping[str, str]) -> tuple[str | None, str | None]:
        if said := self._variables.get("UNITRACK_IMAGE"):
            return said, "UNITRACK_IMAGE"
        if named := written.get("image"):
            return named, "/run/.containerenv"
        for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
            if file := self._variables.get(name):
                return file, name
        return None, None

    def _engine(self, written: Mapping[str, str]) -> str | None:
        if "KUBERNETES_SERVICE_HOST" in self._variables:
            return "kubernetes"
        if (self._root / "run/.containerenv").exists():
            return written.get("engine", "podman").partition("-")[0]
        if (self._root / ".dockerenv").exists():
            return "docker"
        return "apptainer" if {"APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"} & set(self._variables) else None

    def _id(self, written: Mapping[str, str]) -> str | None:
        found = _CONTAINER_ID.search(self._read("proc/self/cgroup") + self._read("proc/self/mountinfo"))
        return written.get("id") or (found[1] if found else None)

    def _read(self, name: str) -> str:
        try:
            return (self._root / name).read_text("utf-8", "replace")
        except OSError:
            return ""


def _digest(words: str | None) -> str | None:
    found = _DIGEST.search(words or "")
    return found[0] if found else f"sha256:{words}" if words and _HEX.fullmatch(words) else None
