"""The conformance kit, against event files read with TensorBoard's own reader."""

from __future__ import annotations

import hashlib
import json

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from unitrack.testing import BackendTests, HeldRun
from unitrack_tensorboard import TensorboardFactory

_SESSION = "_hparams_/session_start_info"
_STATUS = "unitrack/status"


def _whole(tensor):
    """Return a value in the 64 bits that the file keeps beside the 32 that are shown."""
    return tensor.double_val[0] if tensor.double_val else make_ndarray(tensor).item()


class Logdir:
    factory = TensorboardFactory()

    def __init__(self, path):
        self.path = path

    @property
    def options(self):
        return {"logdir": str(self.path)}

    def held(self, run_id):
        folder = self.path / run_id
        return [self._run(folder)] if any(folder.glob("*tfevents*")) else []

    def _run(self, folder):
        found = EventAccumulator(str(folder), size_guidance={"tensors": 0}, purge_orphaned_data=False).Reload()
        own = folder / "unitrack"
        told = json.loads((own / "run.json").read_text())
        changed = json.loads((own / "names.json").read_text())["changed"] if (own / "names.json").exists() else {}
        metrics = {}
        for tag, made in found.AllSummaryMetadata().items():
            if made.plugin_data.plugin_name == "scalars" and not tag.startswith(("system/", "summary/")):
                points = sorted(
                    ((e.step, e.wall_time, e.tensor_proto) for e in found.Tensors(tag)), key=lambda point: point[:2]
                )
                name = changed[tag]["name"] if tag in changed else tag
                metrics[name] = [(step, _whole(tensor)) for step, _, tensor in points]
        return HeldRun(
            status=self._status(found), params=self._params(found), metrics=metrics, tags=told["tags"],
            files=self._files(own) | self._shown(found), parent=told["parent"], datasets=self._datasets(found),
        )  # fmt: skip

    def _status(self, found):
        texts = self._texts(found, _STATUS)
        return texts[-1] if texts else None

    def _texts(self, found, tag):
        if tag not in found.Tags()["tensors"]:
            return []
        return [make_ndarray(event.tensor_proto).item().decode() for event in found.Tensors(tag)]

    def _params(self, found):
        content = found.SummaryMetadata(_SESSION).plugin_data.content
        hparams = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}

    def _datasets(self, found):
        rows = [text.splitlines()[2:] for text in self._texts(found, "unitrack/datasets")]
        return {row.split(" | ")[1].removesuffix(" |") for table in rows for row in table if row.startswith("| name |")}

    def _files(self, own):
        files = {path.name: path.read_bytes() for path in own.glob("lowered.json")}
        for root in ("artifacts", "media"):
            for path in (own / root).rglob("*"):
                if path.is_file():
                    name = path.relative_to(own / root if root == "artifacts" else own).as_posix()
                    files[name] = path.read_bytes()
        return files

    def _shown(self, found):
        """Return what is shown by its content; the same at the same step twice would be a trace too many."""
        shown, seen = {}, set()
        for tag, made in found.AllSummaryMetadata().items():
            kind = made.plugin_data.plugin_name
            if kind in ("images", "audio", "text") and not tag.startswith("unitrack/"):
                for event in found.Tensors(tag):
                    data = event.tensor_proto.string_val[2 if kind == "images" else 0]
                    again = "again" if (tag, event.step, data) in seen else "once"
                    shown[f"media/{tag}/{again}-{hashlib.sha256(data).hexdigest()}"] = data
                    seen.add((tag, event.step, data))
        return shown


class TestTensorboard(BackendTests):
    @pytest.fixture
    def target(self, tmp_path):
        return Logdir(tmp_path / "logdir")
