"""Checks of the kit: everything that is logged arrives, or its loss is told."""

from __future__ import annotations

import math

import pytest

from unitrack.events import FinalStatus
from unitrack.testing.bench import Bench
from unitrack.testing.runs import png

__all__ = ["COLLIDING_NAMES", "ODD_NAMES", "Arrival"]

ODD_NAMES = (
    "mAP@50", "f1 (macro)", "a,b", "x[0]", "k=v", "50%", "a:b", "a\\b", "tab\there", "line\nbreak", '"quoted"', "'",
    "a;b", "Größe", "准确率", "😀", "e\u0301", " lead", "trail ", ".", "..", "../up", "/root", "end/", "a//b", "a/./b",
    "-", "", "_step", "_timestamp", "step", "sys/id", "mlflow.note", "null", "None", "$HOME", "{brace}", "<tag>", "a|b",
    "?", "*", "#",
)  # fmt: skip
COLLIDING_NAMES = ("a b", "a_b", "a-b", "a.b", "a@b", "a(b", "a/b", "A_B", "a__b", "a_b ", "a\tb", "ab", "\uff41_b")
_LONG = "lång-" * 200


class Arrival:
    """What was logged is held, or a lowering names it."""

    def test_a_plain_run_arrives_whole_and_nothing_is_lowered(self, bench: Bench) -> None:
        """A report for what the tracker does hold would hide the ones that matter."""
        with bench.run(name="plain") as run:
            run.params({"lr": 0.1, "epochs": 3, "name": "resnet", "flag": True})
            for step in range(30):
                run.log({"loss": 1 / (step + 1), "val/accuracy": step / 32}, step)
        sent = bench.send()
        bench.check(sent)
        assert not sent.lowered

    def test_params_keep_their_nesting_and_types(self, bench: Bench) -> None:
        """Names are paths joined by `/`."""
        values = {
            "model": {"depth": 3, "act": {"name": "gelu"}},
            "lr": 1e-4,
            "layers": [1, 2, 3],
            "on": False,
            "n": None,
        }
        with bench.run() as run:
            run.params(values).params({"model": {"heads": 8}, "big": 2**60, "small": 1e-300})
        bench.check(bench.send())

    def test_texts_of_every_kind_arrive(self, bench: Bench) -> None:
        """Empty, in any script, many lines, spelling numbers and words of JSON."""
        texts = {
            "empty": "", "umlaut": "Grüße", "cjk": "学习率", "emoji": "🙂", "lines": "a\nb\r\nc\t", "quote": "\"'`",
            "return": "a\rb", "number": "1.0", "null": "null", "nan": "NaN", "json": '{"a": 1}', "space": " x ",
        }  # fmt: skip
        with bench.run() as run:
            run.params(texts)
        bench.check(bench.send())

    def test_long_params_arrive_or_are_told(self, bench: Bench) -> None:
        """20,000 characters, at either end; the short ones beside them are whole."""
        with bench.run() as run:
            run.params({"long": "x" * 20_000, "short": "y", "deep": {"long": "ä" * 20_000}, "list": list(range(5000))})
        held = bench.check(bench.send())
        assert held.params["short"] == "y"

    def test_a_changed_param_has_its_last_value_or_is_told(self, bench: Bench) -> None:
        """A resubmitted job may come with another configuration."""
        with bench.run() as run:
            run.params({"lr": 0.1, "same": 1, "swap": "a"}).params({"lr": 0.2, "same": 1}).params({"swap": "b"})
            run.params({"swap": "a"})
        held = bench.check(bench.send())
        assert "same" in held.params

    def test_steps_that_repeat_go_back_or_are_missing(self, bench: Bench) -> None:
        """Each in a metric of its own, beside one that is plain."""
        steps = {
            "repeated": (0, 1, 1, 1, 2), "backward": (5, 3, 4, 0), "missing": (None, None, None),
            "negative": (-3, -1, 0), "mixed": (0, None, 2, None), "huge": (2**53 + 2, 2**62), "gap": (0, 10**9),
            "plain": (0, 1, 2),
        }  # fmt: skip
        with bench.run() as run:
            for name, some in steps.items():
                for number, step in enumerate(some):
                    run.log({name: number / 4}, step)
        bench.check(bench.send())

    def test_fractional_steps(self, bench: Bench) -> None:
        """Held as they are where the tracker declares it; told where it can't; whole ones beside them untouched."""
        with bench.run() as run:
            for step in (0, 0.25, 0.5, 1, 1.125, 2, 2.000001):
                run.log({"loss": float(step)}, step)
        sent = bench.send()
        bench.check(sent)
        if bench.able.fractional_steps:
            assert not sent.lowered

    def test_nan_and_infinities(self, bench: Bench) -> None:
        """Held as such where the tracker declares it, else told; the finite values beside them are whole."""
        with bench.run() as run:
            for step, value in enumerate((0.5, math.nan, 0.25, math.inf, -math.inf, 0.125)):
                run.log({"loss": value, "finite": float(step)}, step)
            run.log({"only nan": math.nan}, 0)
            run.params({"limit": math.inf})
        sent = bench.send()
        bench.check(sent)
        if bench.able.non_finite:
            assert not [one for one in sent.lowered if one.name in ("loss", "finite")]

    def test_numbers_of_every_size(self, bench: Bench) -> None:
        """Integers beyond 2**53 come as the nearest float; booleans are 0 and 1."""
        values = {
            "big": 2**53 + 1, "max": 2**63 - 1, "min": -(2**63), "tiny": 5e-324, "huge": 1.7976931348623157e308,
            "third": 1 / 3, "yes": True, "no": False, "zero": 0, "minus": -0.0,
        }  # fmt: skip
        with bench.run() as run:
            run.log(values, 0).log({"plain": 1.0}, 1)
        bench.check(bench.send())

    @pytest.mark.parametrize("names", [ODD_NAMES, COLLIDING_NAMES], ids=["odd", "colliding"])
    def test_names_come_back_and_none_takes_anothers_place(self, bench: Bench, names: tuple[str, ...]) -> None:
        """As metrics and as params, however the tracker must spell them."""
        with bench.run() as run:
            run.log({name: float(number) for number, name in enumerate(names)}, 0)
            run.log({name: number + 0.5 for number, name in enumerate(names)}, 1)
            run.params({name: f"value {number}" for number, name in enumerate(names) if "/" not in name})
        bench.check(bench.send())

    def test_names_of_a_thousand_characters(self, bench: Bench) -> None:
        """Two that differ in the last one only stay two."""
        names = [f"{_LONG}{end}" for end in "ab"]
        with bench.run() as run:
            run.log({name: float(number) for number, name in enumerate(names)}, 0)
            run.params({name: number for number, name in enumerate(names)})
        bench.check(bench.send())

    def test_tags_are_added_and_removed(self, bench: Bench) -> None:
        """Those given at the start too; a tag that went and came back is there."""
        with bench.run(tags=["first", "gone early"]) as run:
            run.tags(add=["baseline", "gpu: a100", "Größe"], values={"team": "vision"})
            run.tags(add=["temporary", "back"]).tags(remove=["temporary", "gone early", "back"]).tags(add=["back"])
        bench.check(bench.send())

    def test_artifacts_arrive_under_their_names(self, bench: Bench) -> None:
        """Files, folders, odd names, no bytes at all, many bytes."""
        with bench.run() as run:
            run.artifact("weights.bin", bytes(range(256)) * 40).artifact("deep/er/model.onnx", b"onnx", kind="model")
            run.artifact("folder", {"a.txt": b"in a", "sub/b.txt": b"in b", "sub/ö @1.txt": b"in c"})
            run.artifact("mäp@50 (1).txt", b"odd").artifact("no extension", b"none").artifact("empty.txt", b"")
            run.log({"after": 1.0}, 0)
        bench.check(bench.send())

    def test_an_artifact_that_is_logged_twice_has_its_last_bytes(self, bench: Bench) -> None:
        """Or both, if the tracker keeps versions; a lost one is told."""
        with bench.run() as run:
            run.artifact("model.bin", b"first").log({"loss": 1.0}, 0).artifact("model.bin", b"second and longer")
        bench.check(bench.send())

    def test_media_arrive(self, bench: Bench) -> None:
        """A picture at two steps, and text."""
        with bench.run() as run:
            run.image("sample", png(10), 0).image("sample", png(200), 1).image("val/confusion", png(99))
            run.text("note", "what the model said: ähm", 3)
        bench.check(bench.send())

    def test_datasets_arrive(self, bench: Bench) -> None:
        """With a digest as long as a SHA-256, and with none."""
        with bench.run() as run:
            run.dataset("train", uri="s3://data/train", digest=f"sha256:{'ab' * 32}", rows=100, split="train")
            run.dataset("no digest", uri="file:///data/x")
        bench.check(bench.send())

    @pytest.mark.parametrize("status", ["finished", "failed", "killed"])
    def test_the_end_of_a_run_is_told(self, bench: Bench, status: FinalStatus) -> None:
        """`killed` may be `failed` where the tracker has no such word."""
        bench.run().log({"loss": 1.0}, 0).finish(status)
        bench.check(bench.send(), status=status)

    def test_a_live_run_has_no_end_yet(self, bench: Bench) -> None:
        """What was logged so far is there, and the run goes on."""
        run = bench.run().params({"lr": 0.1}).log({"loss": 1.0}, 0)
        sent = bench.send()
        assert sent.state == "live"
        bench.check(sent, status=None)
        run.log({"loss": 0.5}, 1).finish()
        bench.check(bench.send())

    def test_a_resumed_run_goes_on_where_it_ended(self, bench: Bench) -> None:
        """By more writers, after each kind of end, sent between them or not."""
        bench.run().params({"lr": 0.1}).log({"loss": 1.0}, 0).die()
        bench.check(bench.send(), status="killed")
        bench.run().params({"lr": 0.1}).log({"loss": 0.5}, 1).finish("failed")
        bench.check(bench.send(), status="failed")
        bench.run().log({"loss": 0.25}, 2).finish("failed")
        bench.run().log({"loss": 0.125}, 3).tags(add=["done"]).finish()
        held = bench.check(bench.send())
        assert len(held.metrics["loss"]) == 4

    def test_all_ranks_write_one_run(self, bench: Bench) -> None:
        """Under one name or a name of each rank's own that ends in the metric's, no value is lost."""
        for rank in range(3):
            run = bench.run(rank=rank)
            for step in range(4):
                run.log({"loss": rank + step / 8}, step)
            run.finish()
        sent = bench.send()
        assert sent.state == "sent", sent
        found = [value for name, points in bench.held().metrics.items() if "loss" in name for _, value in points]
        wanted = sorted(rank + step / 8 for rank in range(3) for step in range(4))
        assert sorted(found) == wanted or any(one.name == "loss" for one in sent.lowered)
