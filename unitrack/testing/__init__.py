"""Prove a backend: the conformance kit that unitrack's own plugins pass, and the parts it is made of.

Needs pytest and hypothesis: `pip install "unitrack[testing]"`.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("_arrival", "_honesty", "_identity", "_replays", "bench", "sending"))
)

from unitrack.testing.backends import BackendTests  # noqa: E402 - after the rewrite of its asserts
from unitrack.testing.bench import Bench  # noqa: E402
from unitrack.testing.expected import Told, differences  # noqa: E402
from unitrack.testing.held import HeldRun, Target  # noqa: E402
from unitrack.testing.runs import RunBuilder, png, read_info, read_records  # noqa: E402
from unitrack.testing.sending import Driven, Sent, forget, send, send_in_process  # noqa: E402

__all__ = [
    "BackendTests",
    "Bench",
    "Driven",
    "HeldRun",
    "RunBuilder",
    "Sent",
    "Target",
    "Told",
    "differences",
    "forget",
    "png",
    "read_info",
    "read_records",
    "send",
    "send_in_process",
]
