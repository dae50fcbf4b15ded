"""Load by wrk, whose own costs are small, and what it cost the server that was loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

QUIET_SHARE = 0.05
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_SCRIPT = """
local asked, at = {}, %d
for line in io.lines("%s") do
  local path, range = line:match("^(%%S+) ?(.*)$")
  local headers = {["%s"] = "%s"}
  if range ~= "" then headers["Range"] = range end
  asked[#asked + 1] = {path, headers}
end
function request()
  at = at %% #asked + 1
  return wrk.format("GET", asked[at][1], asked[at][2])
end
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%%d,"size":%%d,"seconds":%%f,"errors":%%d,"p50_us":%%f,"p99_us":%%f}\\n',
    summary.requests, summary.bytes, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk brought, and what it took of the server."""

    requests: int
    size: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_s: float

    @property
    def cpu_s_per_gb(self) -> float:
        """CPU seconds of the server for 1e9 bytes."""
        return self.cpu_s / (self.size / 1e9)

    @property
    def per_cpu_s(self) -> float:
        """Requests for each CPU second of the server."""
        return self.requests / self.cpu_s


def has_wrk() -> bool:
    """Tell whether it is installed."""
    return shutil.which("wrk") is not None


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that processes have used, in and out of the kernel."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def wait_until_quiet(pids: Sequence[int], *, quiet_s: float = 0.3) -> None:
    """Return once processes do next to nothing: what they were asked for before is over."""
    while True:
        before = cpu_s(pids)
        time.sleep(quiet_s)
        if cpu_s(pids) - before <= QUIET_SHARE * quiet_s:
            return


def load(
    url: str,
    asked: Sequence[tuple[str, str]],
    pids: Sequence[int],
    *,
    header: tuple[str, str],
    seconds: int,
    connections: int,
    scratch: Path,
    threads: int = 1,
) -> Load:
    """Ask ``url`` for each of ``asked`` in turn, a path and a ``Range`` or nothing.

    Raises:
        RuntimeError: An answer was an error, or wrk failed; the message holds its words.
    """
    listed, script = scratch / "asked.txt", scratch / "asked.lua"
    listed.write_text("".join(f"{path} {span}\n" for path, span in asked))
    script.write_text(_SCRIPT % (0, listed, *header))
    words = ["wrk", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--latency"]
    before = cpu_s(pids)
    done = subprocess.run(
        [*words, "-s", str(script), url], capture_output=True, text=True, check=False
    )
    used = cpu_s(pids) - before
    _, found, result = done.stdout.partition("RESULT ")
    if not found:
        raise RuntimeError(f"wrk: {done.stdout[-500:]} {done.stderr[-500:]}")
    told = json.loads(result.splitlines()[0])
    if told.pop("errors"):
        raise RuntimeError(f"{url}: errors under load: {done.stdout[-800:]}")
    return Load(cpu_s=used, **told)
