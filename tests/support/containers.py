"""Real container engines, a real registry and images with Python, all on this machine and without a network.

    with open_registry(folder) as registry, open_engine("podman", folder, registry) as engine:
        image = push_python_image(registry, "digits", packages=("numpy", "scikit-learn"))
        engine.call("run", "--rm", "--network=none", image.reference, "python", "-c", "print(1)")

`engine.environ` is the environment in which `podman` and `docker` reach the engine, `engine.variables` what of it
differs from ours (for `monkeypatch.setenv`). All that an engine keeps is under `folder`, and ends with it. An image
holds the very Python that runs the tests, taken from the disk, so that what is compiled for one fits the other.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import requests

ENGINES = ("podman", "docker")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"usr/local/lib/{PYTHON}/site-packages"
OCI = "application/vnd.oci.image"
_STARTS_WITHIN = 60.0  # seconds; a busy machine may be slow
_LEFT_OUT = {
    "dist-packages", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter",
    "turtledemo",
}  # fmt: skip
_ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/nologin\nnobody:x:65534:65534:nobody:/:/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
}
_SPLIT_OFF = (
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",  # once apart from libc; wheels ask for them
    "libgcc_s.so.1",  # loaded when a thread is ended, such as one that is alive when Python ends
)
# A folder for what is alive and locks in files, for each its own: one that begins would take the common ones from the others.
_PODMAN = """\
[engine]
tmp_dir = "{at}/tmp"
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
{init}
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{graph}/graph"
runroot = "{run}/run"
"""
_REGISTRIES = """\
unqualified-search-registries = []
[[registry]]
location = "{registry}"
insecure = true
"""


@dataclass(frozen=True)
class Image:
    """An image in a registry: `tagged` is `host/name:tag`, `reference` is `host/name@digest`."""

    name: str
    tagged: str
    digest: str
    reference: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Engine:
    """A container engine that works: its command, and the variables that lead to it."""

    name: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def call(self, *arguments: str, check: bool = True) -> str:
        """Run a command of the engine and return what it prints."""
        done = subprocess.run(
            [self.name, *arguments], env=self.environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert not check or done.returncode == 0, f"{self.name} {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def containers(self) -> list[str]:
        """Return the names of all containers there are, running or not."""
        return self.call("ps", "--all", "--format", "{{.Names}}").splitlines()


# --- engines ---


@contextmanager
def open_engine(name: str, folder: Path, registry: str) -> Iterator[Engine]:
    """Make the engine `name` of `ENGINES` usable and let it pull from the registry."""
    opened = open_podman if name == "podman" else open_docker
    with opened(folder, registry) as engine:
        yield engine


@contextmanager
def open_podman(folder: Path, registry: str) -> Iterator[Engine]:
    """Give podman a place of its own. It runs no daemon."""
    at = folder / "podman"
    at.mkdir(parents=True)
    init = shutil.which("catatonit")
    # A socket's path has at most 107 bytes, and podman waits 20 s for one that could not be made.
    short = Path(tempfile.mkdtemp(prefix="ut-"))
    files = {
        "CONTAINERS_CONF": _PODMAN.format(init=f'init_path = "{init}"' if init else "", at=short),
        "CONTAINERS_STORAGE_CONF": _STORAGE.format(graph=at, run=short),
        "CONTAINERS_REGISTRIES_CONF": _REGISTRIES.format(registry=registry),
    }
    variables = {}
    for variable, text in files.items():
        path = at / f"{variable.lower()}.conf"
        path.write_text(text)
        variables[variable] = str(path)
    engine = Engine("podman", variables)
    try:
        yield engine
    finally:
        engine.call("rm", "--all", "--force", "--time=0", check=False)
        _unmount_below(at)
        _unmount_below(short)
        shutil.rmtree(short, ignore_errors=True)


@contextmanager
def open_docker(folder: Path, registry: str) -> Iterator[Engine]:
    """Run a Docker daemon of its own, without a bridge: containers have no network or the host's."""
    at = folder / "docker"
    at.mkdir(parents=True)
    # A socket's path has at most 107 bytes, and the folders of tests are deep.
    with tempfile.TemporaryDirectory(prefix="ut-") as short:
        socket_at = f"unix://{short}/docker.sock"
        command = [
            "dockerd", "--data-root", f"{at}/data", "--exec-root", f"{short}/exec", "--pidfile", f"{at}/pid",
            "--host", socket_at, "--iptables=false", "--ip6tables=false", "--bridge=none",
            "--storage-driver", "overlay2", "--insecure-registry", registry, "--config-file", f"{at}/daemon.json",
        ]  # fmt: skip
        settings = {} if shutil.which("docker-init") else {"init-path": shutil.which("catatonit")}
        (at / "daemon.json").write_text(json.dumps(settings))
        engine = Engine("docker", {"DOCKER_HOST": socket_at, "DOCKER_CONFIG": str(at / "client")})
        with _process(command, at / "log"):
            try:
                _wait_until(lambda: _succeeds("docker", "version", environ=engine.environ), at / "log")
                yield engine
            finally:
                for container in engine.call("ps", "--all", "--quiet", check=False).split():
                    engine.call("rm", "--force", container, check=False)
        _unmount_below(at)
        _unmount_below(Path(short))


def _unmount_below(folder: Path) -> None:
    """Let go of what an engine left mounted, deepest first."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for at in sorted((at for at in mounted if at.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", at], check=False, capture_output=True)


# --- the registry ---


@contextmanager
def open_registry(folder: Path) -> Iterator[str]:
    """Run a registry on loopback and yield its `host:port`."""
    host = f"127.0.0.1:{_free_port()}"
    at = folder / "registry"
    at.mkdir(parents=True)
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(at / "data")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "of a test"},
    }
    (at / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
    with _process(["docker-registry", "serve", str(at / "config.yml")], at / "log"):
        _wait_until(lambda: _answers(f"http://{host}/v2/"), at / "log")
        yield host


def tamper_with(pushed: Image, folder: Path, old: bytes, new: bytes) -> None:
    """Change the last layer of an image behind the back of every registry that keeps its files below a folder."""
    layer = pushed.layers[-1].removeprefix("sha256:")
    kept = {path.resolve() for root in folder.glob("registry*") for path in root.rglob(f"sha256/*/{layer}/data")}
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes().replace(old, new))


def push_python_image(
    registry: str,
    name: str = "python",
    *,
    tag: str = "1",
    packages: Iterable[str] = (),
    files: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
) -> Image:
    """Put an image with this Python into the registry.

    `packages` are distributions installed here; they come with all they need. `files` are paths in the image and
    their texts. Equal arguments make an equal digest.
    """
    with tempfile.TemporaryDirectory() as scratch:
        made = [_python_layer(Path(scratch, "python.tar"))]
        if wanted := tuple(packages):
            made.append(_packages_layer(Path(scratch, "packages.tar"), wanted))
        if files:
            made.append(_files_layer(Path(scratch, "files.tar"), files))
        layers = [(_push_blob(registry, name, tar), tar.stat().st_size) for tar in made]
    variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})}
    config = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": [f"{variable}={value}" for variable, value in variables.items()]},
        "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
    }
    text = json.dumps(config, sort_keys=True).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": {"mediaType": f"{OCI}.config.v1+json", "digest": _push_blob(registry, name, text), "size": len(text)},
        "layers": [{"mediaType": f"{OCI}.layer.v1.tar", "digest": digest, "size": size} for digest, size in layers],
    }
    digest = push_manifest(registry, name, tag, manifest)
    return Image(
        name=name,
        tagged=f"{registry}/{name}:{tag}",
        digest=digest,
        reference=f"{registry}/{name}@{digest}",
        layers=tuple(digest for digest, _ in layers),
    )


def push_manifest(registry: str, name: str, tag: str, manifest: dict[str, object]) -> str:
    """Put a manifest, or an index of manifests, into the registry under a tag and return its digest."""
    text = json.dumps(manifest, sort_keys=True).encode()
    headers = {"Content-Type": str(manifest["mediaType"])}
    place = f"http://{registry}/v2/{name}/manifests/{tag}"
    requests.put(place, data=text, headers=headers, timeout=60).raise_for_status()
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def architecture() -> str:
    """Return this machine's architecture as images name it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _push_blob(registry: str, name: str, content: bytes | Path) -> str:
    digest = f"sha256:{_sha256(content)}"
    base = f"http://{registry}/v2/{name}/blobs"
    if requests.head(f"{base}/{digest}", timeout=60).status_code == 200:
        return digest
    begun = requests.post(f"{base}/uploads/", timeout=60)
    begun.raise_for_status()
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as body:
        headers = {"Content-Type": "application/octet-stream"}
        place = begun.headers["Location"]
        requests.put(place, params={"digest": digest}, data=body, headers=headers, timeout=300).raise_for_status()
    return digest


def _sha256(content: bytes | Path) -> str:
    found = hashlib.sha256()
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as body:
        while block := body.read(1 << 20):
            found.update(block)
    return found.hexdigest()


# --- layers ---


def _python_layer(tar: Path) -> Path:
    """Pack this interpreter, its standard library and the libraries they link to."""
    library = Path(sysconfig.get_path("stdlib"))
    files = {
        f"usr/local/lib/{PYTHON}/{path.relative_to(library).as_posix()}": path
        for path in _files_below(library)
        if not _LEFT_OUT & set(path.relative_to(library).parts)
        and not path.relative_to(library).parts[0].startswith("config-")
    }
    extensions = [path for path in files.values() if path.suffix == ".so"]
    program = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    files[f"usr/local/bin/{PYTHON}"] = program
    files.update(_linked([program, *extensions]))
    links = {"usr/local/bin/python": PYTHON, "usr/local/bin/python3": PYTHON}
    texts = {**_ETC, f"{SITE}/README": "packages go here\n"}
    return _pack(tar, files, texts=texts, links=links, folders=("tmp", "proc", "sys", "dev", "run", "var/tmp"))


def _packages_layer(tar: Path, names: tuple[str, ...]) -> Path:
    """Pack distributions that are installed here, and the system libraries they link to."""
    files: dict[str, Path] = {}
    for distribution in _with_requirements(names):
        for path in distribution.files or ():
            if ".." not in path.parts and path.suffix != ".pyc" and not {"tests", "include"} & set(path.parts):
                files[f"{SITE}/{path.as_posix()}"] = Path(str(distribution.locate_file(path)))
    compiled = [path for path in files.values() if ".so" in path.name]
    return _pack(tar, {**_linked(compiled), **files})


def _files_layer(tar: Path, texts: dict[str, str]) -> Path:
    return _pack(tar, {}, texts=texts)


def _with_requirements(names: Iterable[str]) -> list[metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        with suppress(metadata.PackageNotFoundError):  # for another system or Python
            found[name] = metadata.distribution(name)
            needed = [each for each in found[name].requires or () if "extra ==" not in each]
            waiting += [match[0] for each in needed if (match := re.match(r"[\w.-]+", each))]
    missing = [name for name in names if re.sub(r"[-_.]+", "-", name).lower() not in found]
    assert not missing, f"not installed here: {missing}"
    return [found[name] for name in sorted(found)]


def _files_below(folder: Path) -> list[Path]:
    return sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names)


def _linked(programs: list[Path]) -> dict[str, Path]:
    """Return the libraries that programs are linked to, by the place where an image has them."""
    printed = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    loaders = re.findall(r"^\t(/\S+) \(0x", printed, re.MULTILINE)
    found = {loader.lstrip("/"): Path(loader) for loader in loaders}
    for name, path in re.findall(r"^\t(\S+) => (/\S+) \(0x", printed, re.MULTILINE):
        if "/site-packages/" not in path:  # a wheel's own libraries are found beside it
            found[f"usr/lib/{platform.machine()}-linux-gnu/{name}"] = Path(path)
    for name in _SPLIT_OFF:
        beside = Path(found.get(f"usr/lib/{platform.machine()}-linux-gnu/libc.so.6", Path())).with_name(name)
        if beside.is_file():
            found[f"usr/lib/{platform.machine()}-linux-gnu/{name}"] = beside
    return found


def _pack(
    tar: Path,
    files: dict[str, Path],
    *,
    texts: dict[str, str] | None = None,
    links: dict[str, str] | None = None,
    folders: tuple[str, ...] = (),
) -> Path:
    """Write a layer: everything is root's and readable by all, whoever owns it here."""
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in folders:
            _add(archive, name, kind=tarfile.DIRTYPE, mode=0o1777)
        for name, target in sorted((links or {}).items()):
            _add(archive, name, kind=tarfile.SYMTYPE, target=target)
        for name, text in sorted((texts or {}).items()):
            _add(archive, name, content=text.encode())
        for name, path in sorted(files.items()):
            if path.is_file():
                status = path.stat()
                mode = 0o755 if status.st_mode & 0o111 else 0o644
                # Python takes its .pyc files only beside sources of the same time.
                _add(archive, name, content=path.read_bytes(), mode=mode, modified=int(status.st_mtime))
    return tar


def _add(
    archive: tarfile.TarFile,
    name: str,
    *,
    content: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    target: str = "",
    modified: int = 0,
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.mtime, entry.size = kind, mode, target, modified, len(content)
    archive.addfile(entry, io.BytesIO(content))


# --- processes ---


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[None]:
    """Run a server for as long as the block lasts, and all it started no longer."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until(ready: Callable[[], bool], log: Path) -> None:
    ends = time.monotonic() + _STARTS_WITHIN
    while not ready():
        assert time.monotonic() < ends, f"it did not start within {_STARTS_WITHIN:g} s: {log.read_text()[-2000:]}"
        time.sleep(0.1)


def _answers(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(url, timeout=5).ok
    return False


def _succeeds(*command: str, environ: dict[str, str]) -> bool:
    return subprocess.run(command, env=environ, capture_output=True, timeout=30, check=False).returncode == 0


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
