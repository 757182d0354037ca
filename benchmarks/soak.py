"""Many checks in a row: do memory, open files, processes or temporary files grow?

Contract: one worker judges programs of every fate (right, wrong, crashing, exiting, forking, printing; functions and
whole programs) through the pool, cell after cell. What its processes hold is read after a tenth and at the end.

See it work: ``python -m benchmarks soak --samples 5000``.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from benchmarks.common import Figure, Options, Result, say

CHECKS = 100_000
CHUNK = 64
FUNCTION = {"entry_point": "f", "tests": ["assert f(1) == 2", "assert f(0) == 0"]}
SCRIPT = {"stdin_tests": [{"input": "1\n", "output": "2\n"}]}
FATES = [
    (FUNCTION, "def f(n): return 2 * n", "pass"),
    (FUNCTION, "def f(n): return n", "fail"),
    (FUNCTION, "import os\ndef f(n): os._exit(0)", "fail"),
    (FUNCTION, "import ctypes\ndef f(n): ctypes.string_at(0)", "fail"),
    (FUNCTION, "import os\nif os.fork() == 0:\n    while True: pass\ndef f(n): return 2 * n", "pass"),
    (FUNCTION, "def f(n:", "fail"),
    (FUNCTION, "open('/tmp/left', 'w').write('x' * 10**6)\nclass A: pass\ndef f(n): return A()", "fail"),
    (SCRIPT, "print(2 * int(input()))", "pass"),
    (SCRIPT, "while True: print('x' * 4096)", "fail"),
]


@dataclass(frozen=True)
class Held:
    """What the judging processes hold: MiB resident (of the largest), open files, processes, temporary files."""

    memory_mb: float
    files: int
    processes: int
    left: int


def soak(checks: int) -> tuple[Held, Held, int]:
    """What was held after a tenth and at the end, and how many verdicts were wrong."""
    from selfimprove.types import Problem, Sample, messages
    from selfimprove.verify import VerifierPool

    items: list[Any] = []
    for place, (tests, program, _) in enumerate(FATES):
        sample = Sample(str(place), "p", place, "", "", [], program, [], "stop", place, "")
        items.append((Problem("p", messages("Write it."), None, tests), sample))
    first, wrong, done, sent = None, 0, 0, 0
    with VerifierPool({"name": "unit_tests", "timeout_s": 30.0}, workers=1) as pool:
        while done < checks:
            while sent < checks and pool.pending < 4:
                pool.submit(sent, [items[(sent + at) % len(items)] for at in range(CHUNK)])
                sent += CHUNK
            for number, verdicts in pool.poll(5.0):
                wanted = [FATES[(number + at) % len(FATES)][2] for at in range(CHUNK)]
                wrong += sum(v.outcome != w for v, w in zip(verdicts, wanted, strict=True))
                done += CHUNK
                if first is None and done >= checks // 10:
                    first = _held()
                if done % (64 * CHUNK) == 0:
                    say(f"{done} checks: {_held()}")
        last = _held()
    return first or last, last, wrong


def _held() -> Held:
    import psutil

    found = psutil.Process().children(recursive=True)
    memory, files, count = 0.0, psutil.Process().num_fds(), 0
    for process in found:
        try:
            memory = max(memory, process.memory_info().rss / 2**20)
            if process.ppid() in {other.pid for other in found} | {os.getpid()}:
                files += process.num_fds()
                count += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # a cell of the moment
            continue
    left = [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("selfimprove")]
    return Held(round(memory, 1), files, count, len(left))


def measure(options: Options) -> Result:
    """Growth from a tenth of the checks to the end."""
    first, last, wrong = soak(options.samples or CHECKS)
    result = Result("soak")
    result.figures = [
        Figure("growth of the largest process", [last.memory_mb - first.memory_mb], "<= 8", "MiB"),
        Figure("growth of open files", [last.files - first.files], "<= 8"),
        Figure("growth of processes", [last.processes - first.processes], "<= 4"),
        Figure("growth of temporary files", [last.left - first.left], "<= 2"),
        Figure("wrong verdicts", [wrong], "0"),
    ]
    return result
