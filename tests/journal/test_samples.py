"""Journals written by every released schema stay readable for ever.

The files in `samples/` are frozen: a change of the code must never change them.
"""

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

from unitrack import events, schemas
from unitrack.errors import JournalError
from unitrack.journal.codec import encode_line
from unitrack.journal.reader import JournalReader, read_journal
from unitrack.journal.seal import verify_journal

SAMPLES = Path(__file__).parent / "samples"
FROZEN = {
    "v1-sealed.jsonl": "9b9ed4e4bc713b98f01f3f16e0db51e3068d3183a9b77b8ec0ea6bbad5c35f88",
    "v1-torn.jsonl": "c620364edddff70f91db05b2103f49c6b9e595a2f42cf7b8bd2b02e2ad338b11",
    "v1-later.jsonl": "b88e465866bb44fbf4845c44522f16e3c2061ec29e87d12ec1857035fcb1de0b",
    "v1-corrupt.jsonl": "af104b663f69a74f23219d34b44997f68dceb4920bc2dd49a42a8ed76e17304a",
}


@pytest.mark.parametrize("name", FROZEN)
def test_the_samples_are_as_they_were_frozen(name):
    assert hashlib.sha256((SAMPLES / name).read_bytes()).hexdigest() == FROZEN[name]


def test_every_type_of_event_is_in_the_sealed_sample():
    seen = {type(event) for event in read_journal(SAMPLES / "v1-sealed.jsonl")}
    assert seen == set(events.Known.__args__)
    assert verify_journal(SAMPLES / "v1-sealed.jsonl").ok


@pytest.mark.parametrize("name", ["v1-sealed.jsonl", "v1-torn.jsonl", "v1-later.jsonl"])
def test_what_is_read_is_written_again_to_the_letter(name):
    content = (SAMPLES / name).read_bytes()
    again = b"".join(encode_line(event) for event in read_journal(SAMPLES / name))
    assert again == content[: content.rfind(b"\n") + 1]


@pytest.mark.parametrize("name", ["v1-sealed.jsonl", "v1-later.jsonl"])
def test_every_line_is_valid_under_the_schema(name):
    validator = jsonschema.Draft202012Validator(schemas.load("event"))
    for line in (SAMPLES / name).read_text().splitlines():
        if json.loads(line)["type"] != "hologram":
            validator.validate(json.loads(line))


def test_a_torn_tail_is_left_out_and_told():
    reader = JournalReader(SAMPLES / "v1-torn.jsonl")
    assert len([e for batch in reader.batches() for e in batch.events]) == 3 and reader.torn == 29
    report = verify_journal(SAMPLES / "v1-torn.jsonl")
    assert report.ok and not report.sealed and report.torn == 29


def test_a_type_of_a_later_version_is_kept_whole():
    (later,) = [event for event in read_journal(SAMPLES / "v1-later.jsonl") if isinstance(event, events.Unknown)]
    assert later.type == "hologram" and later.raw["beam"] == [1, 2]


def test_corruption_is_named_with_file_and_line_and_salvage_reads_on():
    path = SAMPLES / "v1-corrupt.jsonl"
    with pytest.raises(JournalError, match=r"v1-corrupt\.jsonl:5: .*--salvage"):
        list(read_journal(path))
    assert len(list(read_journal(path, salvage=True))) == 17
    report = verify_journal(path)
    assert not report.ok and any("line 5 is no event" in problem for problem in report.problems)
    assert any("SHA-256" in problem for problem in report.problems)


def test_a_changed_byte_breaks_the_seal(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes((SAMPLES / "v1-sealed.jsonl").read_bytes().replace(b'"loss":0.25', b'"loss":0.24'))
    assert any("SHA-256" in problem for problem in verify_journal(path).problems)
