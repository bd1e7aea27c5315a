"""Ways in which a backend can be wrong, each a subclass of a correct one that differs in one thing.

`FAULTS` makes them by name; the first six are those that the kit is for.
"""

from __future__ import annotations

import importlib
import math
import os

import broken_arrival as arrival

from unitrack.backend import Lowering


def drops_nan(base):
    class Broken(base):
        def metric(self, name, step, value):
            if math.isfinite(value):
                yield from super().metric(name, step, value)

    return Broken


def doubles_on_replay(base):
    class Broken(base):
        def recover(self):
            super().recover()
            return set()

    return Broken


def reorders(base):
    class Broken(base):
        def order(self, records):
            return records[::-1]

    return Broken


def loses_the_tail_at_close(base):
    """Keeps three records back until the next export or flush; `close` forgets them."""

    class Broken(base):
        back = ()

        def write(self, key, entries):
            self.back = (*self.back, (key, entries))
            while len(self.back) > 3:
                self.flush_one()

        def flush_one(self):
            first, *self.back = self.back
            super().write(*first)

        def flush(self, timeout):
            while self.back:
                self.flush_one()

    return Broken


def swallows_errors(base):
    class Broken(base):
        def map(self, event):
            try:
                return list(super().map(event))
            except Exception:
                return []

    return Broken


def mixes_runs(base):
    """What is current is kept for the process, not for the object."""

    class Broken(base):
        @property
        def log(self):
            return base.current

        @log.setter
        def log(self, path):
            base.current = path

    return Broken


# -- identity ------------------------------------------------------------------------------------


def makes_a_run_each_time(base):
    class Broken(base):
        def place(self, run):
            return self.root / f"{run.id}#{len(list(self.root.glob(f'{run.id}#*')))}"

    return Broken


def finds_runs_by_their_beginning(base):
    class Broken(base):
        def place(self, run):
            found = [path for path in self.root.glob("*") if run.id.startswith(path.name)]
            return found[0] if found else super().place(run)

    return Broken


def keeps_the_first_run(base):
    class Broken(base):
        def open(self, run, acked):
            if not hasattr(self, "run"):
                self.state = super().open(run, acked)
            return self.state

    return Broken


def tells_another_target_each_time(base):
    class Broken(base):
        def open(self, run, acked):
            return {**super().open(run, acked), "target": os.urandom(4).hex()}

    return Broken


def loses_parents(base):
    class Broken(base):
        def parent(self, parent):
            return ()

    return Broken


# -- replays -------------------------------------------------------------------------------------


def acks_what_is_in_memory(base):
    """Writes at `flush` and `close` only."""

    class Broken(base):
        kept = ()

        def write(self, key, entries):
            self.kept = (*self.kept, (key, entries))

        def flush(self, timeout):
            for one in self.kept:
                super().write(*one)
            self.kept = ()

        def close(self, status, ended):
            self.flush(0)
            super().close(status, ended)

    return Broken


def flushes_nothing(base):
    """Writes at `close` only."""

    class Broken(acks_what_is_in_memory(base)):
        def flush(self, timeout):
            pass

        def close(self, status, ended):
            super().flush(0)
            super().close(status, ended)

    return Broken


def forgets_its_place_while_live(base):
    """Knows what it has of a run that ended, and takes all else for new."""

    class Broken(base):
        def open(self, run, acked):
            self.ended = (self.place(run) / "status").exists()
            return super().open(run, acked)

        def recover(self):
            known = super().recover()
            return known if self.ended else set()

    return Broken


def forgets_its_place_between_objects(base):
    """Knows what it has from the state that `open` returned; without it, takes all for new."""

    class Broken(base):
        def recover(self):
            known = super().recover()
            return known if self.run.state else set()

    return Broken


def lowers_by_batch(base):
    class Broken(base):
        def export(self, records):
            import msgspec

            told = Lowering(kind="batch", name=f"of {len(records)}", detail="sent as one")
            result = super().export(records)
            return msgspec.structs.replace(result, lowered=(*result.lowered, told))

    return Broken


def takes_fifty_records_at_most(base):
    class Broken(base):
        def order(self, records):
            return records[:50]

    return Broken


def begins_anew_when_told_what_is_acked(base):
    class Broken(base):
        def recover(self):
            if self.acked:
                self.log.unlink(missing_ok=True)
            return super().recover()

        def open(self, run, acked):
            self.acked = acked
            return super().open(run, acked)

    return Broken


# -- honesty -------------------------------------------------------------------------------------


def says_nothing_of_later_events(base):
    class Broken(base):
        def lost(self, event):
            return ()

    return Broken


def reports_once_only(base):
    """What was lowered is told by the first worker, and by no later one."""

    class Broken(base):
        def export(self, records):
            import msgspec

            told = self.folder / "told"
            result = super().export(records)
            if told.exists():
                return msgspec.structs.replace(result, lowered=())
            if result.lowered:
                told.touch()
            return result

    return Broken


def keeps_the_first_report(base):
    class Broken(base):
        def keep_report(self, report):
            if not (self.folder / "lowered.json").exists():
                super().keep_report(report)

    return Broken


def takes_any_option(base):
    return base


def shows_the_environment(base):
    class Broken(base):
        def open(self, run, acked):
            return {**super().open(run, acked), "environment": dict(os.environ)}

    return Broken


def imports_its_client_at_once(base):
    importlib.import_module("hypothesis")
    return base


# Each with a test that must fail on it: the one whose name says what is wrong.
SIX = {
    drops_nan: "nan_and_infinities",
    doubles_on_replay: "the_whole_run_again_leaves_one_of_everything",
    reorders: "what_comes_later_wins",
    loses_the_tail_at_close: "the_tail_at_close_is_not_lost",
    swallows_errors: "what_can_not_be_sent_is_raised_or_refused",
    mixes_runs: "runs_that_are_open_at_once_keep_apart",
}
OTHERS = {
    makes_a_run_each_time: "a_run_is_one_run_however_often_it_is_sent",
    finds_runs_by_their_beginning: "two_runs_are_never_mixed",
    keeps_the_first_run: "one_backend_serves_runs_one_after_another",
    tells_another_target_each_time: "the_state_survives_the_cursor",
    loses_parents: "a_child_names_its_parent",
    arrival.lowers_what_it_holds: "a_plain_run_arrives_whole_and_nothing_is_lowered",
    arrival.holds_top_level_params_only: "params_keep_their_nesting_and_types",
    arrival.strips_texts: "texts_of_every_kind_arrive",
    arrival.cuts_params: "long_params_arrive_or_are_told",
    arrival.keeps_the_first_param: "a_changed_param_has_its_last_value_or_is_told",
    arrival.drops_lower_steps: "steps_that_repeat_go_back_or_are_missing",
    arrival.rounds_steps: "fractional_steps",
    arrival.has_single_precision: "numbers_of_every_size",
    arrival.cleans_names: "names_come_back_and_none_takes_anothers_place",
    arrival.cuts_names: "names_of_a_thousand_characters",
    arrival.never_removes_tags: "tags_are_added_and_removed",
    arrival.flattens_folders: "artifacts_arrive_under_their_names",
    arrival.keeps_the_first_artifact: "an_artifact_that_is_logged_twice_has_its_last_bytes",
    arrival.loses_media: "media_arrive",
    arrival.loses_datasets: "datasets_arrive",
    arrival.says_that_all_went_well: "the_end_of_a_run_is_told",
    arrival.ends_live_runs: "a_live_run_has_no_end_yet",
    arrival.takes_nothing_after_the_end: "a_resumed_run_goes_on_where_it_ended",
    arrival.tells_records_apart_by_number: "all_ranks_write_one_run",
    forgets_its_place_while_live: "a_replay_while_the_run_goes_on",
    forgets_its_place_between_objects: "any_part_may_come_again",
    lowers_by_batch: "batches_of_one_and_of_a_thousand_give_the_same",
    takes_fifty_records_at_most: "more_records_than_a_batch_arrive",
    begins_anew_when_told_what_is_acked: "what_was_acked_is_not_expected_again",
    acks_what_is_in_memory: "a_run_is_completed_after_its_worker_is_killed",
    flushes_nothing: "what_was_flushed_outlives_the_process",
    keeps_the_first_report: "the_report_of_what_was_lowered_is_with_the_run",
    reports_once_only: "whatever_differs_is_reported_by_kind_and_name",
    says_nothing_of_later_events: "events_of_later_versions_are_told_and_harm_nothing",
    takes_any_option: "wrong_options_are_named",
    shows_the_environment: "secrets_stay_in_the_environment",
    imports_its_client_at_once: "the_client_is_not_imported_before_open",
}
FAULTS = {fault.__name__: fault for fault in (*SIX, *OTHERS)}
CAUGHT_BY = {fault.__name__: f"test_{test}" for fault, test in {**SIX, **OTHERS}.items()}
