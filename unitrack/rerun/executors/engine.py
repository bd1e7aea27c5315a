"""Talk to a container engine through its command line, podman's or docker's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from unitrack.errors import EvidenceError
from unitrack.rerun.owner import is_gone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OWNER", "Engine", "State", "find_engine", "is_of"]

OWNER = "dev.unitrack.owner"
"""The label by which a container names the process that started it."""

_ENGINES: tuple[Literal["podman", "docker"], ...] = ("podman", "docker")
_SECONDS = 120.0
_PULL_SECONDS = 3600.0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended, as the engine tells it: its own word, not the exit code of a client."""

    status: str
    code: int
    out_of_memory: bool
    error: str


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """An engine by its command; `environ` leads the command to the engine."""

    name: str
    environ: Mapping[str, str]

    def call(self, *arguments: str, seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine. Raises EvidenceError if it can't be started or doesn't come back."""
        try:
            return subprocess.run(
                [self.name, *arguments],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=seconds,
                check=False,
                start_new_session=True,  # Ctrl-C is for us: half a command would leave a container
            )
        except FileNotFoundError as error:
            raise EvidenceError(f"{self.name} can't be started: install podman or docker") from error
        except subprocess.TimeoutExpired as error:
            raise EvidenceError(f"`{self.name} {arguments[0]}` did not come back within {seconds:g} s") from error

    def ask(self, *arguments: str, seconds: float = _SECONDS) -> str:
        """Return what a command prints. Raises EvidenceError with the engine's own words if it fails."""
        done = self.call(*arguments, seconds=seconds)
        if done.returncode != 0:
            raise EvidenceError(f"`{self.name} {arguments[0]}` failed: {complaint(done.stderr)}")
        return done.stdout.strip()

    def require_image(self, reference: str) -> None:
        """Have the image of `name@sha256:...` here, pulled if need be, and make sure that it is the one."""
        if self.call("image", "inspect", reference).returncode != 0:
            self._pull(reference)
        found = self._json("image", "inspect", "--format", "{{json .RepoDigests}}", reference) or []
        digest = reference.rpartition("@")[2]
        if not any(str(one).endswith(f"@{digest}") for one in found):
            raise EvidenceError(f"{self.name} has another image than {digest} under {reference}: remove it there")

    def pin(self, tagged: str) -> str:
        """Return `name@sha256:...` of what a tag stands for in its registry now. Raises EvidenceError."""
        self._pull(tagged)
        found = self._json("image", "inspect", "--format", "{{json .RepoDigests}}", tagged) or []
        for one in map(str, found):
            if is_of(one, tagged):
                return one
        raise EvidenceError(f"{self.name} knows no digest of {tagged} in its registry: push it there first")

    def _pull(self, reference: str) -> None:
        done = self.call("pull", "--quiet", reference, seconds=_PULL_SECONDS)
        if done.returncode != 0:
            raise EvidenceError(
                f"the image {reference} can't be had: {complaint(done.stderr)}. Check that it is in the registry, "
                f"or log in with `{self.name} login`; `unitrack lock --upgrade` pins what its tag stands for now"
            )

    def state(self, container: str) -> State | None:
        """Return how a container is, or None if there is none of that name."""
        found = self._json("inspect", "--type", "container", "--format", "{{json .State}}", container)
        if not isinstance(found, dict):
            return None
        return State(
            status=str(found.get("Status", "unknown")).lower(),
            code=int(found.get("ExitCode", -1)),
            out_of_memory=bool(found.get("OOMKilled", False)),
            error=str(found.get("Error") or ""),
        )

    def remove(self, container: str) -> None:
        """End a container at once and forget it; one that isn't there is fine."""
        self.call("kill", container)
        self.call("rm", "--force", "--volumes", container)

    def sweep(self) -> tuple[str, ...]:
        """Remove the containers of processes that are gone, and return their names."""
        listed = self.call("ps", "--all", "--filter", f"label={OWNER}", "--format", "{{.Names}}")
        left = tuple(name for name in listed.stdout.split() if is_gone(self._owner(name)))
        for name in left:
            self.remove(name)
        return left

    def _owner(self, container: str) -> str:
        found = self._json("inspect", "--type", "container", "--format", "{{json .Config.Labels}}", container)
        return str(found.get(OWNER, "")) if isinstance(found, dict) else ""

    def _json(self, *arguments: str) -> Any:
        done = self.call(*arguments)
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except ValueError:
            return None


def find_engine(wanted: str = "auto", environ: Mapping[str, str] | None = None) -> Engine:
    """Return the engine `podman` or `docker`, for `auto` the first that answers. Raises EvidenceError."""
    env = os.environ if environ is None else environ
    problems = []
    for name in _ENGINES if wanted == "auto" else (wanted,):
        if shutil.which(name, path=env.get("PATH")) is None:
            problems.append(f"{name} is not installed")
            continue
        engine = Engine(name=name, environ=env)
        done = engine.call("version", "--format", "{{.Server.Version}}" if name == "docker" else "{{.Client.Version}}")
        if done.returncode == 0:
            return engine
        problems.append(f"{name} does not answer ({complaint(done.stderr)})")
    raise EvidenceError(f"no container engine can be used: {'; '.join(problems)}. Install podman, or start dockerd")


def is_of(pinned: str, tagged: str) -> bool:
    """Tell whether `name@sha256:...` is of the repository that a tag is in; engines spell out the default one."""
    name, colon, tag = tagged.rpartition(":")
    name = tagged if not colon or "/" in tag else name  # host:5000/name has no tag
    return pinned.rpartition("@")[0] in (name, f"docker.io/{name}", f"docker.io/library/{name}")


def complaint(text: str) -> str:
    """Return the last line of what an engine said."""
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it said nothing"
