"""One event, one line of JSON, and back."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import msgspec

from unitrack.events import Event, Known, Unknown

__all__ = ["decode_line", "decode_lines", "encode_into", "encode_line"]

# Decimal counts as a number: without this it would become a JSON string.
_encoder = msgspec.json.Encoder(decimal_format="number")
_END_OF_TIME = 1e18  # JSON holds integers that no float can

encode_into = _encoder.encode_into
"""Encode an event into a bytearray, which then lacks only its newline: the hot path's half of `encode_line`."""


@cache  # training only writes, and a decoder of all events takes a millisecond to make
def _decoder() -> msgspec.json.Decoder[Known]:
    return msgspec.json.Decoder(Known)


def encode_line(event: Event) -> bytes:
    """Return the line of `event`, newline included."""
    if isinstance(event, Unknown):
        return _encoder.encode(event.raw) + b"\n"
    return _encoder.encode(event) + b"\n"


def decode_line(line: bytes | memoryview) -> Event:
    """Return the event of a line; one of a later schema comes back whole as `Unknown`.

    Raises ValueError when the line is no event.
    """
    try:
        return _decoder().decode(line)
    except msgspec.ValidationError as error:
        return _decode_unknown(line, error)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _decode_unknown(line: bytes | memoryview, reason: msgspec.ValidationError) -> Unknown:
    try:
        raw: Any = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:  # the former is no ValueError before msgspec 0.20
        raise ValueError(str(error)) from None
    known = {member.__struct_config__.tag for member in get_args(Known)}
    if not isinstance(raw, dict) or raw.get("type") in known:
        raise ValueError(str(reason))
    kind, seq, time = raw.get("type"), raw.get("seq"), raw.get("time")
    if not (isinstance(kind, str) and type(seq) is int and isinstance(time, (int, float)) and abs(time) < _END_OF_TIME):
        raise ValueError("an event needs type, seq and time")
    return Unknown(type=kind, seq=seq, time=float(time), raw=raw)


def decode_lines(chunk: bytes | memoryview) -> list[Event]:
    """Return the events of whole lines at once, several times faster than line by line.

    Raises ValueError when a line is no event; decode line by line to find it.
    """
    try:
        return _decoder().decode_lines(chunk)  # type: ignore[return-value]  # a list of Known is a list of Event
    except msgspec.ValidationError:
        return [decode_line(line) for line in bytes(chunk).splitlines()]
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
