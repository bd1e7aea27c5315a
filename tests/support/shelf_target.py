"""What the folders of `shelf` hold, read without it."""

from __future__ import annotations

import json

import shelf

from unitrack.testing import HeldRun


class Target:
    client_modules = ("hypothesis",)

    def __init__(self, folder, fault=None):
        self.factory = shelf.Factory()
        self.folder = folder
        self.options = {"folder": str(folder), **({"fault": fault} if fault else {})}

    def held(self, run_id):
        return [held(path) for path in sorted(self.folder.glob("*")) if path.name.partition("#")[0] == run_id]


def held(folder):
    metrics, params, tags, datasets, parent = {}, {}, {}, [], None
    files = {path.name: path.read_bytes() for path in folder.glob("lowered.json")}
    log = folder / "log.jsonl"
    for line in log.read_text().splitlines() if log.exists() else ():
        for word, *rest in json.loads(line)["entries"]:
            if word == "metric":
                name, step, value = rest
                metrics.setdefault(name, []).append((step, value))
            elif word == "param":
                params[rest[0]] = rest[1]
            elif word == "tag":
                tags[rest[0]] = rest[1]
            elif word == "untag":
                tags.pop(rest[0], None)
            elif word == "file":
                files[rest[0]] = (folder / "files" / rest[1]).read_bytes()
            elif word == "dataset":
                datasets.append(rest[0])
            else:
                parent = rest[0] or parent
    for points in metrics.values():
        points.sort(key=lambda point: float("-inf") if point[0] is None else point[0])
    status = folder / "status"
    return HeldRun(
        status=status.read_text() if status.exists() else None, params=params, metrics=metrics, tags=tags, files=files,
        datasets=datasets, parent=parent,
    )  # fmt: skip
