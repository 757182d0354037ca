"""Problems, samples and a verifier file that misbehaves on request."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfimprove.types import Finish, Problem, Sample, Verdict, messages
from selfimprove.verify.pool import VerifierPool

HANG_S = 60.0
"""No wait in these tests may take longer: a generous bound that only a hang exceeds."""


def problem(answer: Any = "42", question: str = "How many?") -> Problem:
    return Problem("p-1", messages(question), answer)


def sample(completion: str, *, index: int = 0, finish: Finish = "stop", prefix: str = "") -> Sample:
    return Sample(
        f"r/s/p-1/{index}", "p-1", index, "", "How many?", [1, 2], completion, [3, 4], finish, 7, "digest", prefix
    )


def judge(pool: VerifierPool, completions: Iterable[str], chunk_id: int = 0) -> list[Verdict]:
    known = problem()
    pool.submit(chunk_id, [(known, sample(text, index=index)) for index, text in enumerate(completions)])
    return collect(pool)[chunk_id]


def collect(pool: VerifierPool) -> dict[int, list[Verdict]]:
    """All pending chunks; fails instead of waiting for ever."""
    results: dict[int, list[Verdict]] = {}
    until = time.monotonic() + HANG_S
    while pool.pending:
        assert time.monotonic() < until, "the pool hangs"
        for chunk_id, verdicts in pool.poll(1.0):
            assert chunk_id not in results
            results[chunk_id] = verdicts
    return results


def write(directory: Path, source: str, name: str = "mine.py") -> str:
    """A verifier file; returns the spec of its function ``judge``."""
    file = directory / name
    file.write_text(source)
    return f"{file}:judge"


def children(process: int) -> list[int]:
    """Its child processes, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process:
            found.append(int(stat.parent.name))
    return found


def gone(process: int) -> bool:
    """Whether the process is dead (a zombie that nobody has reaped yet counts as dead)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_until_gone(process: int) -> bool:
    until = time.monotonic() + HANG_S
    while time.monotonic() < until:
        if gone(process):
            return True
        time.sleep(0.02)
    return False


# "right" passes, "wrong" fails, anything else names one of these ways to misbehave.
MISBEHAVING = """
import ctypes, os, signal, subprocess, sys, threading, time
from selfimprove.types import Verdict

class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no words")

class FakeScalar:
    def item(self):
        return True

def hang(): time.sleep(1000)
def hang_in_c(): ctypes.CDLL(None).sleep(1000)
def hold_the_gil(): return 7 ** (10 ** 9)
def exit_process(): os._exit(0)
def segfault(): ctypes.string_at(0)
def abort(): os.abort()
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def raises(): raise KeyError("no such thing")
def unprintable(): raise Unprintable()
def system_exit(): sys.exit(0)
def interrupt(): raise KeyboardInterrupt()
def nan(): return float("nan")
def infinite(): return float("inf")
def number(): return 0.5
def nothing(): return None
def text(): return "yes"
def unpicklable(): return lambda: 1
def fake_scalar(): return FakeScalar()
def huge_verdict(): return Verdict("pass", 1.0, "x" * 10_000_000, "y" * 10_000_000)
def odd_text(): return Verdict("fail", 0.0, "a\\ud800b\\x00c", "d\\udfffe\\x00f")
def no_such_outcome(): return Verdict("maybe")
def prints(): print("hello"); sys.stderr.write("world"); os.write(1, b"raw"); os.write(2, b"raw"); return True
def prints_much(): print("x" * 10_000_000); os.write(1, b"x" * 10_000_000); return True
def reads_stdin(): return input()
def memory(): return len(bytearray(8 * 2 ** 30)) > 0
def memory_kept():
    kept = globals().setdefault("KEPT", [])
    while True: kept.append(bytearray(2 ** 20))
def recursion(): return recursion()
class Deep:
    def __repr__(self): return repr(self)
def deep_recursion():
    sys.setrecursionlimit(10 ** 9)
    return repr(Deep())
def closes_descriptors(): os.closerange(3, 256); return True
def writes_everywhere():
    for descriptor in range(3, 64):
        try: os.write(descriptor, b"\\0\\0\\0\\0\\0\\0\\0\\4junk")
        except OSError: pass
    return True
def leaves_thread():
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return True
def forks_and_returns(): return os.fork() == 0 or True
def nap(): time.sleep(0.5); return True
def modest(): return len(bytearray(200 * 2 ** 20)) > 0
def forks():
    if os.fork() == 0: time.sleep(1000)
    return True

def judge(problem, sample, **options):
    what, _, argument = sample.completion.partition(" ")
    if what in ("right", "wrong"):
        return what == "right"
    if what == "grandchild_then":
        how, file = argument.split(" ")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        open(file, "w").write(str(child.pid))
        return globals()[how]()
    if what == "touch_once":
        if os.path.exists(argument): return True
        open(argument, "w").close()
        os._exit(3)
    if what == "mark":
        with open(argument, "a") as file: file.write("x")
        return True
    if what == "count":
        with open(argument, "a") as file: file.write("x")
        raise ValueError("counted")
    return globals()[what]()
"""
