"""A run that has everything, and what a bare reader must find of it, however it got there."""

from __future__ import annotations

import json
import struct
import zlib

from unitrack import events


def png(width=2, height=1):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + b"\x7f" * width for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def whole_run(runs, run_id="one", **fields):
    """Write a run that has everything."""
    weights, picture = runs.put(b"weights"), runs.put(png())
    table = runs.put(b'{"columns":["a","b"],"data":[[1,"NaN"],[2,"x"]]}')
    files = [{"path": "a.txt", "digest": weights, "size": 7}, {"path": "deep/b#1.txt", "digest": table, "size": 48}]
    manifest = runs.put(json.dumps({"version": 1, "files": files}).encode())
    writer = runs.writer(run_id, name="my run", group="sweep", tags=["new"], argv=["train.py", "--lr", "1"], **fields)
    writer.append(events.Params, {"lr": 0.1, "model": {"layers": [1, 2], "act": None}, "odd": "Infinity"})
    writer.append(events.MetricDefinition, name="mAP@50", goal="maximize", summary="max")
    for step in range(30):
        writer.append(events.Metrics, {"loss": 1 / (step + 1), "mAP@50": step / 30}, step)
    writer.append(events.Metrics, {"odd": "NaN"}, 1)
    writer.append(events.Metrics, {"odd": "Infinity", "ok": True}, 0.5)
    writer.append(events.Metrics, {"odd": "-Infinity"}, -3)
    writer.append(events.Metrics, {"_step": 7.0, "free": 1})
    writer.append(events.Params, {"lr": 0.2, "model": {"act": "relu"}})
    writer.append(events.Summary, {"best": 0.9, "note": "fine", "nested": {"a": 1}})
    writer.append(events.Tags, add=["good"], remove=["new"], values={"owner": "me"})
    writer.append(events.Artifact, name="model/w.pt", kind="model", digest=weights, size=7, aliases=["best"])
    writer.append(events.Artifact, name="folder", kind="dataset", digest=manifest, size=55, tree=True)
    writer.append(events.Artifact, name="far", kind="dataset", uri="s3://bucket/key")
    writer.append(events.Artifact, name="base.pt", kind="model", digest=weights, use="input")
    writer.append(
        events.Media, name="plot", kind="image", format="png", step=3, digest=picture, size=70, caption="a plot",
        metadata={"width": 2, "height": 1},
    )  # fmt: skip
    writer.append(events.Media, name="rows", kind="table", format="json", step=3, digest=table, size=48)
    writer.append(events.Media, name="note", kind="text", format="txt", inline="hello <b>")
    writer.append(
        events.Media, name="hist", kind="histogram", format="json", step=4,
        inline={"edges": [0.0, 1.0, 2.0], "counts": [3, 4], "nan": 1, "inf": 0},
    )  # fmt: skip
    writer.append(events.DatasetUsed, name="train", uri="s3://b/t", digest="sha256:" + "c" * 64, split="train")
    writer.append(events.Capture, name="git", values={"commit": "abc123", "branch": "main", "dirty": False})
    writer.append(events.System, {"cpu": 40.0})
    writer.append(events.Alert, title="look", level="warning")
    writer.append(events.Console, stream="stdout", text="printed\n")
    writer.seal("finished")
    return writer
