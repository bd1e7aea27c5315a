"""Let a good and a bad pull request face the gate, with everything but GitHub itself real, and without a network.

    python demo.py [FOLDER]

A repository with a remote on disk, a registry of images and a container engine on this machine; the workflows beside
this file, run step by step as GitHub's runner does; and a stand-in for GitHub's API on loopback that checks each
request against GitHub's own description. Needs podman or docker, docker-registry, git and bash.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from shown import JobLog, heading, screen, show_check, show_comment, show_summary

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "support"))

from action_bench import ActionBench, identity  # noqa: E402 - only found now
from containers import Engine, open_podman, open_registry, push_python_image  # noqa: E402
from github_fake import FakeGitHub  # noqa: E402

PACKAGES = ("numpy", "scikit-learn")
GOOD = ("HIDDEN = 64", "HIDDEN = 96")
BAD = ("SCALE = 16.0", "SCALE = 160.0")
NEEDED = {"docker-registry": "docker-registry", "git": "git", "bash": "bash"}


def show(line):
    screen.print(f"    {line}", style="dim", markup=False, overflow="ellipsis", no_wrap=True)


@contextmanager
def open_engine(folder, registry):
    """Yield the engine of this machine, with what it keeps in the demo's folder where that can be."""
    if shutil.which("podman") and shutil.which("runc") and os.geteuid() == 0:
        with open_podman(folder, registry) as engine:
            yield engine
        return
    for name in ("podman", "docker"):
        if shutil.which(name) and subprocess.run([name, "version"], capture_output=True, check=False).returncode == 0:
            settings = folder / "registries.conf"
            settings.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
            yield Engine(name, {"CONTAINERS_REGISTRIES_CONF": str(settings)} if name == "podman" else {})
            return
    sys.exit("this demo needs a container engine that answers: install podman, or start docker")


def unitrack(bench, engine, *arguments):
    """Run a command in the developer's clone, as a developer would."""
    screen.print(f"  $ unitrack {' '.join(arguments)}", markup=False)
    done = subprocess.run(
        [sys.executable, "-m", "unitrack", *arguments],
        cwd=bench.root,
        env=engine.environ,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for line in done.stdout.splitlines():
        show(line)
    if done.returncode != 0:
        sys.exit(f"the demo expected this to work: exit code {done.returncode}")


def put_into_production(bench, engine):
    unitrack(bench, engine, "rerun", "HEAD", "--seeds", "1")
    (run,) = (path.name for path in (bench.root / ".unitrack" / "runs").iterdir())
    unitrack(bench, engine, "models", "register", "digits", "--run", run)
    for stage in ("staging", "production"):
        unitrack(bench, engine, "models", "stage", "digits", "1", stage, "--reason", "the first model")
    bench.commit("Register digits:1")
    bench.git("push", "--quiet", "origin", "main")


def edited(bench, change):
    text = (bench.root / "train.py").read_text()
    assert change[0] in text, f"train.py no longer has {change[0]!r}"
    return {"train.py": text.replace(*change)}


def face_the_gate(bench, hub, number, *, branch, change, expected):
    event = bench.pull_request(number, branch, edited(bench, change))
    bench.runner.show = JobLog(bench.runner.folder.parent / f"log-{number}.txt")
    started = time.monotonic()
    run = bench.runner.run(HERE / "gate.yml", event)
    took = time.monotonic() - started
    heading(f"Pull request #{number} now: the job took {took:.0f} s and ended in {run.conclusion}")
    for comment in hub.comments_of(number):
        show_comment(comment, number)
    show_check(list(hub.checks.values())[-1])
    summary = bench.runner.folder.parent / f"summary-{number}.md"
    summary.write_text(run.job.summary)
    show_summary(run.job.summary, summary)
    screen.print(f"  whole log: {bench.runner.show.path}", style="dim", markup=False)
    if run.conclusion != expected:
        sys.exit(f"the demo expected {expected}")
    return run


def merge(bench, number):
    bench.runner.show = JobLog(bench.runner.folder.parent / "log-promote.txt")
    run = bench.runner.run(HERE / "promote.yml", bench.merge(number))
    if run.conclusion != "success":
        sys.exit("the demo expected a promotion")
    bench.git("pull", "--quiet", "origin", "main")


def main():
    started = time.monotonic()
    missing = [package for command, package in NEEDED.items() if not shutil.which(command)]
    if missing:
        sys.exit(f"this demo needs {', '.join(missing)}: install them, such as with apt-get install")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo-ci").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ.update(identity())

    heading("1. An image with Python, numpy and scikit-learn, in a registry on this machine")
    with open_registry(folder) as registry, open_engine(folder, registry) as engine, FakeGitHub() as hub:
        image = push_python_image(registry, "digits", packages=PACKAGES)
        show(image.reference)

        heading("2. A repository with a remote, and a model in production, trained in that image")
        settings = (HERE / "project" / "unitrack.toml").read_text()
        placeholder = next(line for line in settings.splitlines() if line.startswith("image = "))
        bench = ActionBench(
            folder / "repository",
            hub,
            train=(HERE / "project" / "train.py").read_text(),
            settings=settings.replace(placeholder, f'image = "{image.reference}"'),
            production=False,
            variables=engine.variables,
        )
        put_into_production(bench, engine)

        heading("3. Pull request #1, a wider network: the workflow gate.yml trains both commits with the same seeds")
        face_the_gate(bench, hub, 1, branch="wider-network", change=GOOD, expected="success")

        heading("4. Pull request #2: somebody changed the scale of the images. The gate must keep it out")
        face_the_gate(bench, hub, 2, branch="wrong-scale", change=BAD, expected="failure")

        heading("5. #1 is merged: the workflow promote.yml gates what was merged, and its model goes into production")
        merge(bench, 1)
        unitrack(bench, engine, "models", "list")

    heading(f"Done in {time.monotonic() - started:.0f} s: the good pull request passed, the bad one was kept out")
    screen.print(f"  repository  {bench.root}\n  workflows   {HERE}/*.yml, to copy to .github/workflows", markup=False)
    screen.print("  next        docs/action.md", markup=False)


if __name__ == "__main__":
    main()
