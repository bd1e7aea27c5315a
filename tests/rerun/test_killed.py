"""Gates that are killed at any moment leave nothing behind, and go on where they were."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from containers import Image, open_podman
from killing import Killable


def killed_again_and_again(place: Killable, kills: int) -> None:
    """Kill gates spread over all of their time; `benchmarks/rerun.py` does it more often."""
    _, took = place.finish()
    place.next_candidate()
    draw = random.Random(0)
    for kill in range(kills):
        killed = place.kill_after(took * (kill + draw.random()) / kills)
        place.wait_until_nothing_is_left()
        if not killed:
            place.next_candidate()
    ended = place.kill_after_a_job()
    place.wait_until_nothing_is_left()
    known = place.known_jobs()
    verdict, _ = place.finish()
    assert place.left() == []
    jobs = {run.job for run in (*verdict.candidate.runs, *verdict.baseline.runs)}
    assert verdict.cost is not None
    assert ended <= jobs, "what the killed gate trained was not trained again"
    assert verdict.cost.cached == len(jobs & known)


def test_a_gate_over_processes_is_killed_and_leaves_nothing(tmp_path: Path) -> None:
    killed_again_and_again(Killable(tmp_path), 4)


def test_a_gate_over_containers_is_killed_and_leaves_nothing(
    tmp_path: Path, registry: str, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with open_podman(tmp_path_factory.mktemp("podman"), registry) as engine:
        killed_again_and_again(Killable(tmp_path, engine=engine, image=image.reference), 3)
