"""Checks of the kit: what is offered twice leaves one trace, what is cut off is completed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from unitrack.events import Alert, Capture, Console, MetricDefinition, Summary, System
from unitrack.testing.bench import Bench
from unitrack.testing.held import HeldRun
from unitrack.testing.runs import RunBuilder, png
from unitrack.testing.strategies import Step, run_steps
from unitrack.testing.victim import BATCH

__all__ = ["Replays", "log_everything"]

_MOMENTS = ("open:after", "export-1:after", "export-2:half", "export-2:0.002", "flush:after", "close:after")


def log_everything(run: RunBuilder) -> RunBuilder:
    """Log every type of event, those that a tracker of numbers has no use for included."""
    run.params({"lr": 0.1, "model": {"depth": 3}}).tags(add=["baseline"]).tags(add=["gone"]).tags(remove=["gone"])
    for step in range(5):
        run.log({"loss": 1 / (step + 1), "mAP@50": float(step)}, step)
    run.log({"loss": float("nan")}, 5).log({"loss": 0.1}, 6.5).log({"loss": 0.1}).log({"loss": 0.01}, 2)
    run.artifact("a.bin", b"first bytes").artifact("folder", {"x.txt": b"in x", "y/z.txt": b"in z"})
    run.image("sample", png(1), 0).text("note", "a word", 1).dataset("train", digest=f"sha256:{'cd' * 32}")
    run.append(Summary, values={"best": 0.01, "note": "converged"}).append(System, values={"gpu": 0.5})
    run.append(Console, stream="stdout", text="epoch 1").append(Capture, name="git", values={"commit": "abc"})
    run.append(Alert, title="look", text="the loss is NaN").append(MetricDefinition, name="loss", goal="minimize")
    return run.later_event(size=3).params({"lr": 0.2}).log({"last": 1.0}, 7)


class Replays:
    """The worker may be killed anywhere, and offers again whatever it can't be sure of."""

    def test_the_whole_run_again_leaves_one_of_everything(self, bench: Bench) -> None:
        """The cursor may be lost: the run is sent from its start, by the same backend or a new one."""
        log_everything(bench.run()).finish()
        first = bench.check(bench.send())
        for _ in range(2):
            bench.forget()
            _check_same(bench.check(bench.send()), first)

    def test_a_replay_while_the_run_goes_on(self, bench: Bench) -> None:
        """What comes after the replay finds its place."""
        run = log_everything(bench.run())
        bench.check(bench.send(), status=None)
        bench.forget()
        run.log({"loss": 0.001, "more": 1.0}, 8).tags(add=["late"])
        bench.check(bench.send(), status=None)
        run.finish()
        bench.forget()
        bench.check(bench.send())

    @settings(
        max_examples=15,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # to make a failing run small would take minutes with a slow tracker
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(steps=run_steps(), data=st.data())
    def test_any_part_may_come_again(self, bench: Bench, steps: list[Step], data: st.DataObject) -> None:
        """Whatever two writers log, in batches of any size, with any suffix offered again, closed or cut off."""
        run_id = f"run-{len(list((bench.store / 'runs').glob('*')))}"
        cut = data.draw(st.integers(0, len(steps)), "resumed at")
        for part in (steps[:cut], steps[cut:]):
            with bench.run(run_id) as run:
                for name, arguments in part:
                    getattr(run, name)(*arguments)
        records = bench.records(run_id)
        lowered = []
        driven = bench.drive(run_id)
        for _ in range(data.draw(st.integers(1, 3), "interruptions")):
            until = data.draw(st.integers(1, len(records)), "killed after")
            driven.export(records[:until], batch=data.draw(st.sampled_from([1, 3, 1000]), "batch"))
            lowered += driven.lowered
            if data.draw(st.booleans(), "closed"):
                driven.close(None)
            driven = bench.drive(run_id, state=data.draw(st.sampled_from([{}, driven.state]), "state"))
        driven.export(records)
        driven.lowered += lowered
        driven.close("finished", 2e9)
        bench.check(driven, run_id)

    def test_batches_of_one_and_of_a_thousand_give_the_same(self, bench: Bench) -> None:
        """How records are bundled is the worker's business."""
        held, told = [], []
        for size in (1, 7, 1000):
            log_everything(bench.run(f"by-{size}")).finish()
            driven = bench.drive(f"by-{size}")
            driven.export(bench.records(f"by-{size}"), batch=size)
            driven.close("finished", 2e9)
            held.append(bench.check(driven, f"by-{size}"))
            told.append({(one.kind, one.name) for one in driven.lowered})
        assert told[0] == told[1] == told[2]
        _check_same_values(held[0], held[1])
        _check_same_values(held[0], held[2])

    def test_more_records_than_a_batch_arrive(self, bench: Bench) -> None:
        """A long run, at the batch that the backend asks for."""
        count = min(3000, bench.able.batch * 2 + 1)
        with bench.run() as run:
            for step in range(count):
                run.log({"loss": step / 4}, step)
        bench.check(bench.send())

    def test_what_comes_later_wins(self, bench: Bench) -> None:
        """In one batch or in several, order decides what a param, a tag or the last value is."""
        for size in (1, 1000):
            run = bench.run(f"by-{size}")
            for number in range(4):
                run.log({"at the same step": number / 2}, 3).params({"note": number})
                run.tags(add=["even"] if number % 2 else ["odd"], remove=["odd"] if number % 2 else ["even"])
            run.finish()
            driven = bench.drive(f"by-{size}")
            driven.export(bench.records(f"by-{size}"), batch=size)
            driven.close("finished", 2e9)
            bench.check(driven, f"by-{size}")

    def test_what_was_acked_is_not_expected_again(self, bench: Bench) -> None:
        """A backend that is opened with `acked` has those records, and gets the rest only."""
        log_everything(bench.run()).finish()
        records = bench.records()
        half = len(records) // 2
        first = bench.drive()
        first.export(records[:half])
        first.close(None)
        acked = {records[half - 1].writer: records[half - 1].event.seq}
        second = bench.drive(state=first.state, acked=acked)
        second.export(records[half:])
        second.close("finished", 2e9)
        second.lowered += first.lowered
        bench.check(second)

    def test_the_tail_at_close_is_not_lost(self, bench: Bench) -> None:
        """What was acked is there after `close`, even without a `flush`, however little came after the last one."""
        with bench.run() as run:
            for step in range(7):
                run.log({"loss": float(step)}, step)
        records = bench.records()
        driven = bench.drive()
        driven.export(records[:-4])
        driven.backend.flush(60.0)
        for record in records[-4:]:
            driven.export([record])
        driven.backend.close("finished", 2e9)
        bench.check(driven)

    # -- killed ----------------------------------------------------------------------------------

    def test_a_run_is_completed_after_its_worker_is_killed(self, bench: Bench) -> None:
        """SIGKILL at six moments, one after another in one run: what was acked is never offered again."""
        run = bench.run()
        for moment in _MOMENTS:
            self._log_batches(run, moment)
            bench.send_in_process(die=moment)
        run.finish()
        bench.check(bench.send_in_process())

    def test_what_was_flushed_outlives_the_process(self, bench: Bench) -> None:
        """Killed right after `flush` returned, with nothing more said to the tracker."""
        log_everything(bench.run()).finish()
        bench.send_in_process(die="flush:after")
        held = bench.held()
        assert {"loss", "last"} <= set(held.metrics), held.metrics
        lowered = bench.send().lowered
        assert not bench.differences(lowered=lowered)

    def _log_batches(self, run: RunBuilder, moment: str) -> None:
        """Log enough for the exports up to this moment."""
        number = run.writer.seq
        for step in range(number, number + 4 * BATCH):
            run.log({"loss": step / 8, "accuracy": 1 / step}, step)
        run.artifact(f"at-{number}.bin", moment.encode()).params({f"at-{number}": moment}).tags(add=[f"tag-{number}"])


def _check_same(one: HeldRun, other: HeldRun) -> None:
    """Compare one run before and after: all but the bytes of files, among which may be the backend's own notes."""
    _check_same_values(one, other)
    for field in ("status", "tags", "datasets", "parent"):
        assert _spelled(getattr(one, field)) == _spelled(getattr(other, field)), f"{field} differ"
    assert sorted(one.files) == sorted(other.files)


def _check_same_values(one: HeldRun, other: HeldRun) -> None:
    """Compare two runs with the same in them; their tags and files may name the run."""
    assert _spelled(one.params) == _spelled(other.params)
    assert _spelled(one.metrics) == _spelled(other.metrics)


def _spelled(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
