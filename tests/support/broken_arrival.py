"""Ways to lose what was logged, each a subclass of a correct backend that differs in one thing."""

from __future__ import annotations

import re
import struct

from unitrack.backend import Lowering


def cuts_params(base):
    class Broken(base):
        def param(self, name, value):
            yield from super().param(name, value[:250] if isinstance(value, str) else value)

    return Broken


def keeps_the_first_param(base):
    class Broken(base):
        def open(self, run, acked):
            self.seen = set()
            return super().open(run, acked)

        def param(self, name, value):
            if name not in self.seen:
                self.seen.add(name)
                yield from super().param(name, value)

    return Broken


def holds_top_level_params_only(base):
    class Broken(base):
        def param(self, name, value):
            if "/" not in name:
                yield from super().param(name, value)

    return Broken


def strips_texts(base):
    class Broken(base):
        def param(self, name, value):
            yield from super().param(name, value.strip() if isinstance(value, str) else value)

    return Broken


def cleans_names(base):
    class Broken(base):
        def metric(self, name, step, value):
            yield from super().metric(re.sub(r"[^\w./-]", "_", name), step, value)

    return Broken


def cuts_names(base):
    class Broken(base):
        def metric(self, name, step, value):
            yield from super().metric(name[:250], step, value)

    return Broken


def rounds_steps(base):
    class Broken(base):
        def metric(self, name, step, value):
            yield from super().metric(name, None if step is None else int(step), value)

    return Broken


def drops_lower_steps(base):
    class Broken(base):
        def open(self, run, acked):
            self.last = -1
            return super().open(run, acked)

        def metric(self, name, step, value):
            if step is None or step >= self.last:
                self.last = self.last if step is None else step
                yield from super().metric(name, step, value)

    return Broken


def has_single_precision(base):
    class Broken(base):
        def metric(self, name, step, value):
            (value,) = struct.unpack("f", struct.pack("f", max(-3e38, min(3e38, value))))
            yield from super().metric(name, step, value)

    return Broken


def never_removes_tags(base):
    class Broken(base):
        def tags(self, add, remove):
            return super().tags(add, [])

    return Broken


def flattens_folders(base):
    class Broken(base):
        def file(self, path, data):
            return super().file(path.rpartition("/")[2], data)

    return Broken


def keeps_the_first_artifact(base):
    class Broken(base):
        def file(self, path, data):
            self.paths = {path: data, **getattr(self, "paths", {})}
            return super().file(path, self.paths[path])

    return Broken


def loses_media(base):
    class Broken(base):
        def media(self, event):
            return ()

    return Broken


def loses_datasets(base):
    class Broken(base):
        def map(self, event):
            return [entry for entry in super().map(event) if entry[0] != "dataset"]

    return Broken


def says_that_all_went_well(base):
    class Broken(base):
        def close(self, status, ended):
            super().close("finished", ended)

    return Broken


def ends_live_runs(base):
    class Broken(base):
        def close(self, status, ended):
            super().close(status or "finished", ended)

    return Broken


def takes_nothing_after_the_end(base):
    class Broken(base):
        def open(self, run, acked):
            self.ended = (self.place(run) / "status").exists()
            return super().open(run, acked)

        def write(self, key, entries):
            if not self.ended:
                super().write(key, entries)

    return Broken


def tells_records_apart_by_number(base):
    class Broken(base):
        def key(self, record):
            return ("any", record.event.seq)

    return Broken


def lowers_what_it_holds(base):
    class Broken(base):
        def lost(self, event):
            yield from super().lost(event)
            for name in getattr(event, "values", ()):
                yield Lowering(kind="step", name=name, detail="perhaps")

    return Broken
