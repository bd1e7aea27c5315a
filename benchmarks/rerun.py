"""Measure what a gate costs beyond its trainings, and what reruns in one image are worth: `--help` tells the parts.

    python benchmarks/rerun.py [PART ...]

Needs what the tests of containers need: podman, runc, catatonit and docker-registry, as root. All it makes is in a
temporary folder. The exit code is 1 if a bound does not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from action_bench import identity  # noqa: E402 - only found now
from containers import Engine, open_engine, open_registry, push_python_image  # noqa: E402
from killing import Killable  # noqa: E402

DIGITS = ROOT / "examples" / "ci" / "project" / "train.py"
PAIRS = 5
KILLS = 30
REPEATS = 20
STARTS = 10
COLD, WARM, CACHED, START = 25.0, 8.0, 30.0, 1.0  # seconds

# Its last line says how long this process lived: what a gate takes beyond that is the gate's.
TRAIN = """\
import os, random, sys, time
import unitrack

CHANGE = 0
draw = random.Random(f"{CHANGE} {sys.argv[2]}")
with unitrack.init() as run:
    for step in range(20):
        run.log({"acc": 0.9 + 0.01 * draw.gauss(0, 1)}, step=step)
        time.sleep(0.02)
began = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
print(f"\\nlived {time.clock_gettime(time.CLOCK_BOOTTIME) - began:.3f}", flush=True)
"""
SETTINGS = """\
project = "toy"

[train]
command = ["python", "train.py", "--seed", "{{seed}}"]
seeds = {seeds}
jobs = 1

[train.container]
engine = "{engine}"
image = "{image}"
memory = "{memory}"

[gate]
model = "toy"

[[gate.metrics]]
name = "acc"
goal = "maximize"
margin = 0.0001
"""


class Project:
    """A repository whose trainings run in an image."""

    def __init__(self, root: Path, engine: Engine, image: str, *, train: str = TRAIN, memory: str = "200m") -> None:
        self.root, self.environ, self.python = root, {**engine.environ, **identity()}, sys.executable
        root.mkdir(parents=True)
        settings = SETTINGS.format(seeds=[*range(PAIRS)], engine=engine.name, image=image, memory=memory)
        (root / "unitrack.toml").write_text(settings)
        (root / "train.py").write_text(train)
        (root / ".gitignore").write_text(".unitrack/\n")
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", "Train")
        self.base = self.run("git", "rev-parse", "HEAD").strip()

    def run(self, *command: str, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environ, check=False, text=True, capture_output=True, timeout=1800
        )
        if done.returncode not in codes:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def change(self, number: int) -> None:
        """Commit a candidate that is as good as the baseline, so that it takes all pairs to see nothing."""
        (self.root / "train.py").write_text(TRAIN.replace("CHANGE = 0", f"CHANGE = {number}"))
        self.run("git", "commit", "-qam", f"Change {number}")

    def gate(self, *arguments: str) -> float:
        """Gate and return the seconds it took."""
        began = time.monotonic()
        command = (self.python, "-m", "unitrack", "gate", "--baseline", self.base, *arguments)
        self.run(*command, codes=(0, 1, 3))
        return time.monotonic() - began

    def lived(self, logs: Iterable[Path]) -> tuple[float, int]:
        """Return how long the trainings of some logs lived, and how many there are."""
        each = [float(path.read_text().rpartition("lived ")[2]) for path in logs]
        return sum(each), len(each)

    def logs(self) -> list[Path]:
        return sorted(self.root.glob(".unitrack/rerun/*/output.log"))


class Report:
    """What is printed, and whether all bounds hold."""

    def __init__(self) -> None:
        self.fine = True

    def say(self, what: str, figure: str) -> None:
        print(f"| {what} | {figure} |", flush=True)

    def bound(self, what: str, seconds: float, most: float) -> None:
        self.fine &= seconds <= most
        self.say(what, f"{seconds:.2f} s, at most {most:g} s{'' if seconds <= most else ': TOO LONG'}")

    def check(self, what: str, figure: str, *, holds: bool) -> None:
        self.fine &= holds
        self.say(what, figure if holds else f"{figure}: NOT SO")


@contextmanager
def open_place(name: str = "podman") -> Iterator[tuple[Path, str, Engine]]:
    with tempfile.TemporaryDirectory(prefix="rerun-") as folder:
        top = Path(folder)
        with open_registry(top) as registry, open_engine(name, top, registry) as engine:
            yield top, registry, engine


def install(report: Report, folder: Path) -> tuple[str, float]:
    """Install unitrack as the action does; return its Python, and the seconds it took."""
    output = folder / "output"
    places = {"ACTION_ROOT": str(ROOT), "PYTHON": "", "RUNNER_TEMP": str(folder), "GITHUB_OUTPUT": str(output)}
    command = ["bash", str(ROOT / "actions" / "install.sh")]
    began = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **places}, check=False, capture_output=True)
    took = time.monotonic() - began
    if done.returncode != 0:
        report.say("the action's installation", "no index of packages answers: gates run in this Python")
        return sys.executable, 0.0
    report.say("the action's installation", f"{took:.1f} s")
    return output.read_text().partition("=")[2].strip(), took


def overhead(report: Report, engine_name: str) -> None:
    """Gate five pairs on a machine that has nothing yet, then changes when all but the trainings is there."""
    with open_place(engine_name) as (top, registry, engine):
        python, installing = install(report, top)
        image = push_python_image(registry, "toy").reference
        project = Project(top / "toy", engine, image)
        project.python = python
        project.change(1)
        took = project.gate()
        trained, jobs = project.lived(project.logs())
        report.check("jobs of a cold gate", f"{jobs}, {trained:.1f} s of training", holds=jobs == 2 * PAIRS)
        report.bound("cold gate beyond training, with the installation", installing + took - trained, COLD)
        report.bound("cold gate beyond training, without it", took - trained, COLD)
        warm = statistics.median(_warm(project, number) for number in (2, 3, 4))
        report.bound("warm gate beyond training, median of 3", warm, WARM)
        before = {path: path.stat().st_mtime_ns for path in project.logs()}
        report.bound("cached verdict", project.gate(), CACHED)
        again = [path for path in project.logs() if before.get(path) != path.stat().st_mtime_ns]
        report.check("trainings for it", f"{len(again)}", holds=not again)
        _starts(report, project, engine, image)


def _warm(project: Project, number: int) -> float:
    """Gate another change with both sides trained."""
    project.change(number)
    before = {path: path.stat().st_mtime_ns for path in project.logs()}
    took = project.gate("--fresh")
    trained, jobs = project.lived([path for path in project.logs() if before.get(path) != path.stat().st_mtime_ns])
    assert jobs == 2 * PAIRS, jobs
    return took - trained


def _starts(report: Report, project: Project, engine: Engine, image: str) -> None:
    """Compare the time around a job's process with the engine's own for a bare container."""

    def rerun(seeds: int) -> float:
        began = time.monotonic()
        project.run(project.python, "-m", "unitrack", "rerun", "--fresh", "--seeds", str(seeds))
        return time.monotonic() - began

    few, many = rerun(1), rerun(1 + STARTS)
    logs = [path for path in project.logs() if time.time() - path.stat().st_mtime < many + 1]
    trained, jobs = project.lived(logs)
    ours = (many - few) / STARTS - trained / jobs
    program = TRAIN[TRAIN.index("began =") :].replace("began", "import os, time\nbegan", 1)
    own = []
    for _ in range(STARTS):
        began = time.monotonic()
        said = engine.call("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", program)
        own.append(time.monotonic() - began - float(said.rpartition("lived ")[2]))
    report.say(f"around a process: `{engine.name} run --rm` / a job", f"{statistics.median(own):.2f} / {ours:.2f} s")
    report.bound("start and end of a job beyond the engine's own", ours - statistics.median(own), START)


def equal(report: Report, engine_name: str) -> None:
    """Train the digits example again and again with one seed: metrics and model have the same bits."""
    with open_place(engine_name) as (top, registry, engine):
        image = push_python_image(registry, "digits", packages=("numpy", "scikit-learn")).reference
        project = Project(top / "digits", engine, image, train=DIGITS.read_text(), memory="1g")
        for _ in range(REPEATS):
            project.run(sys.executable, "-m", "unitrack", "rerun", "--fresh", "--seeds", "1")
        runs = list((project.root / ".unitrack" / "runs").glob("rerun-*"))
        kinds = len({_bits(run) for run in runs})
        figure = f"{len(runs)}, of which {kinds - 1} differ from the first in a bit of metrics or model"
        report.check("reruns of the digits example", figure, holds=(len(runs), kinds) == (REPEATS, 1))


def _bits(run: Path) -> str:
    """Return a hash over all metrics that a run logged in order, and over all that it kept, whenever that was."""
    logged, kept = [], []
    for path in sorted((run / "journal").glob("*.jsonl")):
        for event in map(json.loads, path.read_text().splitlines()):
            if event["type"] == "metrics":
                logged.append([event["step"], event["values"]])
            elif event["type"] in ("artifact", "dataset"):
                kept.append([event["type"], event["name"], event.get("digest"), event.get("size")])
    assert logged
    assert any(name == "model.pkl" for _, name, _, _ in kept), kept
    return hashlib.sha256(json.dumps([logged, sorted(kept, key=str)]).encode()).hexdigest()


def kills(report: Report, engine_name: str) -> None:
    """Kill gates at random moments; what they leave is gone soon, and the last goes on where they were."""
    with open_place(engine_name) as (top, registry, engine):
        place = Killable(top, engine=engine, image=push_python_image(registry, "toy").reference)
        place.finish()  # has the image pulled, which happens once
        place.next_candidate()
        _, took = place.finish()
        place.next_candidate()
        draw, waits, in_time = random.Random(0), [], 0
        for kill in range(KILLS):
            killed = place.kill_after(took * (kill + draw.random()) / KILLS)
            waits.append(place.wait_until_nothing_is_left())
            in_time += killed
            if not killed:
                place.next_candidate()
        ended = place.kill_after_a_job()
        waits.append(place.wait_until_nothing_is_left())
        known = place.known_jobs()
        verdict, _ = place.finish()
        jobs = {run.job for run in (*verdict.candidate.runs, *verdict.baseline.runs)}
        cached = 0 if verdict.cost is None else verdict.cost.cached
        report.check("gates killed before their end", f"{in_time} of {KILLS}", holds=in_time >= KILLS * 2 / 3)
        report.check("left of them in the end", f"{len(place.left())}", holds=place.left() == [])
        report.say("gone after, median / most", f"{statistics.median(waits):.1f} / {max(waits):.1f} s")
        taken = ended <= jobs and cached == len(jobs & known)
        report.check("ended jobs that the last gate took over", f"{cached} of {len(jobs & known)}", holds=taken)


PARTS: dict[str, Callable[[Report, str], None]] = {"overhead": overhead, "equal": equal, "kills": kills}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/rerun.py", description=__doc__.partition("\n")[0])
    for_each = "; ".join(f"{name}: {str(part.__doc__).partition(chr(10))[0]}" for name, part in PARTS.items())
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help=for_each)
    parser.add_argument("--engine", choices=("podman", "docker"), default="podman")
    options = parser.parse_args()
    os.environ.update(identity())
    report = Report()
    print(f"| {options.engine} | figure |\n| --- | ---: |")
    for name in options.parts:
        PARTS[name](report, options.engine)
    return 0 if report.fine else 1


if __name__ == "__main__":
    sys.exit(main())
