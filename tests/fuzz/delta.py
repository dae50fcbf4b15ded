"""Let a fuzzer write deltas for as long as it is told to: ``python tests/fuzz/delta.py SECONDS``.

With atheris (``pip install -e '.[fuzz]'``) it follows the branches of our own code; without it,
mutants of sound deltas are drawn at random. Whatever is applied may be refused or make bytes of
the right size; anything else ends the run, and so does a process that grows beyond the bound.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from chunks.delta import Method, apply_delta
from kit.errors import FormatError
from tests import programs
from tests.deltas import bsdiff_of, framed, hdiff_of, likeness
from tests.programs import plain_of

MEMORY_MAX = 2 << 30
"""Of address space, most of it the interpreter's and its libraries'."""

BASE, TARGET = likeness(1, 5000)
SEEDS = [
    bytes([Method.HDIFF]) + hdiff_of(BASE, TARGET),
    bytes([Method.BSDIFF])
    + bsdiff_of([(4000, 0, 0), (1000, len(TARGET) - 5000, 0)], bytes(5000), TARGET[5000:]),
    bytes([Method.ZSTD]) + b"\x28\xb5\x2f\xfd",
    bytes([Method.LZMA]) + b"\1\0\2abc\0",
    bytes([Method.RELINKED]) + (plain_of(programs.TARGET, programs.BASE) or b""),
]


def apply_one(raw: bytes) -> None:
    """Apply what the fuzzer wrote: a byte of method, then what is inside its packing."""
    if not raw:
        return
    method, inside = Method(raw[0] % len(Method)), raw[1:]
    is_packed = method in {Method.HDIFF, Method.BSDIFF, Method.RELINKED}
    payload = framed(inside) if is_packed else inside
    base, target = BASE, TARGET
    if method is Method.LZMA:
        base = b""
    elif method is Method.RELINKED:
        base, target = programs.BASE, programs.TARGET
    try:
        made = apply_delta(method, payload, base, len(target))
    except FormatError:
        return
    assert len(made) == len(target)


def mutate_for(seconds: float) -> None:
    """Draw mutants until the time is up."""
    seed, ends_at_s, count = random.randrange(1 << 32), time.monotonic() + seconds, 0
    print(f"seed {seed}")
    chance = random.Random(seed)
    while time.monotonic() < ends_at_s:
        raw = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(1, min(len(raw), 60) if chance.random() < 0.6 else len(raw))
            raw[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(1, 11))
        apply_one(bytes(raw))
        count += 1
    print(f"{count} mutants did no harm")


def fuzz_for(seconds: float) -> None:
    """Let atheris write until the time is up."""
    import atheris

    atheris.instrument_all()
    corpus = Path(__file__).with_name(".corpus")
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds:.0f}", "-max_len=8192", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], apply_one)
    atheris.Fuzz()


if __name__ == "__main__":
    if importlib.util.find_spec("atheris") is None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
        mutate_for(float(sys.argv[1]))
    else:
        fuzz_for(float(sys.argv[1]))
