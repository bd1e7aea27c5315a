"""Checks of the kit: which run is which."""

from __future__ import annotations

import msgspec

from unitrack.testing.bench import Bench

__all__ = ["Identity"]


class Identity:
    """One run of ours is one run of the tracker, for ever."""

    def test_a_run_is_one_run_however_often_it_is_sent(self, bench: Bench) -> None:
        """`open` finds a run that is there, with the state it returned, without it, and in a new process."""
        with bench.run() as run:
            run.params({"lr": 0.1}).log({"loss": 0.5}, 0)
        bench.check(bench.send())
        bench.forget()
        bench.check(bench.send())
        for state in ({}, bench.drive().state):
            driven = bench.drive(state=state)
            driven.close("finished", 2e9)
            bench.check(driven)

    def test_two_runs_are_never_mixed(self, bench: Bench) -> None:
        """Runs whose ids begin alike, with the same names in them, keep their own values."""
        for number, run_id in enumerate(("one", "one-2", "One_"), 1):
            with bench.run(run_id, name="same name") as run:
                run.params({"lr": number}).log({"loss": number / 8, f"only-{number}": 1.0}, number)
        sent = bench.send("one", "one-2", "One_")
        for number, run_id in enumerate(("one", "one-2", "One_"), 1):
            held = bench.check(sent, run_id)
            others = {f"only-{other}" for other in (1, 2, 3) if other != number} & set(held.metrics)
            assert not others, f"{run_id} holds metrics of other runs: {others}"

    def test_one_backend_serves_runs_one_after_another(self, bench: Bench) -> None:
        """What `open` sets up for a run is gone when the next one comes."""
        backend = bench.target.factory.create(bench.target.options)
        for number in (1, 2, 3):
            with bench.run(f"run-{number}") as run:
                run.params({"n": number}).log({"loss": float(number), f"only-{number}": 0.0}, number)
            driven = bench.drive(f"run-{number}", backend=backend)
            driven.export(bench.records(f"run-{number}"))
            driven.close("finished", 2e9)
            held = bench.check(driven, f"run-{number}")
            assert len([name for name in held.metrics if name.startswith("only-")]) == 1, held.metrics

    def test_runs_that_are_open_at_once_keep_apart(self, bench: Bench) -> None:
        """A worker that follows a whole store has a backend object open for each live run, in one thread."""
        runs = ("left", "right")
        for number, run_id in enumerate(runs):
            with bench.run(run_id) as run:
                run.params({"side": run_id}).log({"loss": float(number)}, 0).log({run_id: 1.0}, 1)
        driven = {run_id: bench.drive(run_id) for run_id in runs}
        for left, right in zip(*(bench.records(run_id) for run_id in runs), strict=True):
            driven["left"].export([left])
            driven["right"].export([right])
        for run_id in runs:
            driven[run_id].close("finished", 2e9)
        for run_id, other in (("left", "right"), ("right", "left")):
            assert other not in bench.check(driven[run_id], run_id).metrics

    def test_the_state_survives_the_cursor(self, bench: Bench) -> None:
        """What `open` returns is plain JSON and says where the run goes; the same place says the same."""
        bench.run().finish()
        first = bench.drive()
        first.close("finished", 2e9)
        assert msgspec.json.decode(msgspec.json.encode(first.state)) == first.state
        again = bench.drive(state=first.state)
        again.close("finished", 2e9)
        assert again.state.get("target") == first.state.get("target")

    def test_a_child_names_its_parent(self, bench: Bench) -> None:
        """The child may come first; where the tracker has no parents, a lowering of kind `parent` says so."""
        bench.run("child", parent="mother").log({"loss": 1.0}, 0).finish()
        bench.run("mother").log({"loss": 2.0}, 0).finish()
        bench.check(bench.send("child"), "child")
        bench.check(bench.send("mother"), "mother")
        bench.forget()
        bench.check(bench.send("child", "mother"), "child")
        assert bench.held("mother").parent is None
