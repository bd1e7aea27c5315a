"""The action with trainings in containers: a real engine, a real registry, and images that aren't what they should be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from action_bench import SETTINGS, ActionBench
from action_runner import ROOT, WorkflowRun
from containers import Engine, Image, open_docker, open_podman, open_registry, push_python_image, tamper_with
from github_fake import FakeGitHub

GATE = ROOT / "examples" / "ci" / "gate.yml"
CONTAINER = """\

[train.container]
engine = "{engine}"
image = "{image}"
memory = "200m"
"""
HUNGRY = '"held = [bytearray(64 << 20) for _ in range(8)]; print(len(held))"'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with open_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def image(registry: str) -> Image:
    return push_python_image(registry)


@pytest.fixture(scope="module")
def engine(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_podman(tmp_path_factory.mktemp("podman"), registry) as opened:
        yield opened


@pytest.fixture(scope="module")
def docker(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_docker(tmp_path_factory.mktemp("docker"), registry) as opened:
        yield opened


def gate(folder: Path, hub: FakeGitHub, engine: Engine, reference: str, **constants: str) -> WorkflowRun:
    settings = SETTINGS + CONTAINER.format(engine=engine.name, image=reference)
    bench = ActionBench(folder / "bench", hub, settings=settings, variables=engine.variables)
    run = bench.runner.run(GATE, bench.pull_request(7, "topic", **constants))
    assert engine.containers() == [], "nothing is left behind"
    return run


def assert_kept_out(run: WorkflowRun, hub: FakeGitHub, reason: str) -> None:
    assert run.conclusion == "failure"
    assert run.job.steps["gate"].outputs["verdict"] == "none"
    assert "Gate has no verdict" in run.job.summary
    assert reason in run.job.summary
    (check,) = hub.checks.values()
    assert check["conclusion"] == "failure"
    assert reason in hub.comments_of(7)[0]["body"]


def test_a_good_change_passes(hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path) -> None:
    run = gate(tmp_path, hub, engine, image.reference, LEVEL="0.91")
    assert run.conclusion == "success", run.job.log
    assert [check["conclusion"] for check in hub.checks.values()] == ["success"]


def test_a_regression_fails(hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path) -> None:
    run = gate(tmp_path, hub, engine, image.reference, LEVEL="0.8")
    assert run.conclusion == "failure"
    assert run.job.steps["gate"].outputs["verdict"] == "fail"
    assert [check["conclusion"] for check in hub.checks.values()] == ["failure"]


def test_a_training_without_enough_memory_is_no_evidence(
    hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path
) -> None:
    run = gate(tmp_path, hub, engine, image.reference, EXTRA=HUNGRY)
    assert_kept_out(run, hub, "it ran out of memory")


@pytest.mark.parametrize(
    ("extra", "reason"), [("None", ""), (HUNGRY, "it ran out of memory"), ('"sys.exit(3)"', "exit code 3")]
)
def test_docker_is_as_good_and_as_strict(
    hub: FakeGitHub, docker: Engine, image: Image, tmp_path: Path, extra: str, reason: str
) -> None:
    run = gate(tmp_path, hub, docker, image.reference, LEVEL="0.91", EXTRA=extra)
    if reason:
        assert_kept_out(run, hub, reason)
    else:
        assert run.conclusion == "success", run.job.log
        assert [check["conclusion"] for check in hub.checks.values()] == ["success"]


def test_a_digest_that_the_registry_does_not_have_is_no_evidence(
    hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path
) -> None:
    wrong = image.reference.replace(image.digest, "sha256:" + "0" * 64)
    assert_kept_out(gate(tmp_path, hub, engine, wrong, LEVEL="0.91"), hub, "can't be had")


def test_an_image_changed_in_the_registry_is_no_evidence(
    hub: FakeGitHub, engine: Engine, registry: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pushed = push_python_image(registry, "tampered", files={"note": "as it was"})
    tamper_with(pushed, tmp_path_factory.getbasetemp(), b"as it was", b"as it is!")
    assert_kept_out(gate(tmp_path, hub, engine, pushed.reference, LEVEL="0.91"), hub, "can't be had")


def test_a_model_trained_in_a_container_is_promoted_and_the_next_change_is_held_to_it(
    hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path
) -> None:
    settings = SETTINGS + CONTAINER.format(engine=engine.name, image=image.reference)
    bench = ActionBench(tmp_path / "bench", hub, settings=settings, variables=engine.variables)
    bench.pull_request(7, "wider", LEVEL="0.91")
    event = bench.merge(7)
    run = bench.runner.run(GATE.with_name("promote.yml"), event)
    assert run.conclusion == "success", run.job.log
    bench.git("pull", "-q", "origin", "main")
    later = bench.runner.run(GATE, bench.pull_request(8, "back", LEVEL="0.88"))
    assert later.conclusion == "failure"
    assert later.job.steps["gate"].outputs["baseline"] == event.sha
    assert "baseline seed 0: known" in later.job.log


def test_a_tag_is_refused_at_its_line(hub: FakeGitHub, engine: Engine, image: Image, tmp_path: Path) -> None:
    run = gate(tmp_path, hub, engine, image.tagged, LEVEL="0.91")
    assert_kept_out(run, hub, "names an image that can change")


def test_a_tag_that_is_locked_is_the_image_it_was_wherever_it_moves(
    hub: FakeGitHub, engine: Engine, registry: str, tmp_path: Path
) -> None:
    locked = push_python_image(registry, "locked", files={"note": "the locked one"})
    settings = SETTINGS + CONTAINER.format(engine=engine.name, image=locked.tagged)
    bench = ActionBench(tmp_path / "bench", hub, settings=settings, variables=engine.variables)
    bench.lock(engine.variables)
    assert push_python_image(registry, "locked", files={"note": "another one"}).digest != locked.digest
    said = "\"print(open('/note').read())\""
    run = bench.runner.run(GATE, bench.pull_request(7, "topic", LEVEL="0.91", EXTRA=said))
    assert run.conclusion == "success", run.job.log
    logs = [path.read_text() for path in run.job.workspace.glob(".unitrack/rerun/*/output.log")]
    assert [text for text in logs if "the locked one" in text]
    assert not [text for text in logs if "another one" in text]
