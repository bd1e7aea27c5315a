"""How fast data is hashed: beside the disk's own speed, the hash's own, OpenSSL's, and again when nothing changed.

python benchmarks/hashing.py --gigabytes 10

Files of 256 MiB of random bytes. Each round they are read, hashed by `openssl dgst` and hashed by us, twice: out of the
page cache before (cold), and in it (warm, if memory is large enough). Hashing alone is one buffer again and again, no
file. All with as many threads or processes as there are cores; ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from unitrack.objects import ObjectStore

_FILE = 256 << 20
_CHUNK = 1 << 20
CORES = len(os.sched_getaffinity(0))


def fill(folder: Path, count: int) -> list[Path]:
    """Write the files."""
    folder.mkdir()
    block = os.urandom(_CHUNK)
    paths = [folder / f"part-{number:03}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        with path.open("wb") as file:
            for at in range(_FILE // _CHUNK):
                file.write(number.to_bytes(4, "big") + at.to_bytes(4, "big") + block[8:])
            file.flush()
            os.fsync(file.fileno())
    return paths


def forget(paths: list[Path]) -> None:
    """Drop the files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> None:
    buffer = bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def hash_as_much(path: Path) -> None:
    del path
    sha, block = hashlib.sha256(), bytes(_CHUNK)
    for _ in range(_FILE // _CHUNK):
        sha.update(block)


def on_all_cores(work: Callable[[Path], None], paths: list[Path]) -> None:
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(work, paths))


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def openssl(paths: list[Path]) -> None:
    words = ["xargs", "-0", "-n1", f"-P{CORES}", "openssl", "dgst", "-sha256"]
    names = "\0".join(map(str, paths)).encode()
    subprocess.run(words, input=names, stdout=subprocess.DEVNULL, check=True)


def measure(paths: list[Path], ours: Callable[[], object], *, cold: bool) -> dict[str, float]:
    """Return the seconds of each way, one after the other."""
    ways: dict[str, Callable[[], object]] = {
        "reading alone": lambda: on_all_cores(read, paths),
        "hashing alone": lambda: on_all_cores(hash_as_much, paths),
        "openssl dgst": lambda: openssl(paths),
        "unitrack": ours,
    }
    took = {}
    for name, work in ways.items():
        if cold:
            forget(paths)
        took[name] = seconds(work)
    return took


def show(rounds: list[dict[str, float]], size: int) -> None:
    for name in rounds[0]:
        took = statistics.median(each[name] for each in rounds)
        print(f"  {name:14} {size / took / 1e9:6.2f} GB/s {took:7.2f} s")
    slower = statistics.median(max(one["reading alone"], one["hashing alone"]) / one["unitrack"] for one in rounds)
    plain = statistics.median(one["openssl dgst"] / one["unitrack"] for one in rounds)
    print(f"  unitrack: {slower:.2f} x the slower of reading and hashing alone, {plain:.2f} x openssl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the data is written; a temporary folder unless given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        data, store = Path(place, "data"), ObjectStore(Path(place, "objects"))
        paths = fill(data, max(2, round(arguments.gigabytes * 1e9 / _FILE)))
        print(f"{len(paths)} files written", flush=True)
        told = list[tuple[int, int]]()
        for state in ("cold", "warm"):
            print(f"{state}, {len(paths) * _FILE / 1e9:.1f} GB in {len(paths)} files, {CORES} cores")
            ours = functools.partial(store.digest, data, progress=lambda *done: told.append(done))
            show([measure(paths, ours, cold=state == "cold") for _ in range(arguments.rounds)], len(paths) * _FILE)
        store.digest(data, cached=True)
        again = seconds(lambda: store.digest(data, cached=True))
        stats = seconds(lambda: [path.stat() for path in paths])
    print(f"progress told every {len(paths) * _FILE * 2 * arguments.rounds / len(told) / 1e6:.1f} MB")
    print(f"unchanged: {again * 1000:.1f} ms (the files' stats alone: {stats * 1000:.2f} ms)")


if __name__ == "__main__":
    main()
