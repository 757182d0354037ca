"""Checks of a trivial function per core-second: ours, a bare zygote's, a bare loop of forks, and HumanEval's way.

Contract: CPU time of all processes involved, after all have ended. ``empty`` is a cell in which nothing runs: the price
of the walls. ``zygote`` is asked over a socket and forks with
rlimits, the tests in the fork; ``fork`` is a loop of forks of a bare interpreter that answer through a pipe; neither
isolates anything. ``manager`` does what HumanEval's harness does for every check: a manager process for the verdict, a
forked process with its dangerous functions taken away, a join with a limit.

See it work: ``python -m benchmarks sandbox --samples 200``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import Figure, Options, Result, fresh, ratios, say

PROGRAM = "def triple(n):\n    return 3 * n\n"
TESTS = ["assert triple(1) == 3", "assert triple(-2) == -6", "assert triple(0) == 0"]
CHECKS = 600
ZYGOTE = """
import json, os, resource, socket, sys
import ast, array, base64, ctypes, datetime, decimal, fractions, select, textwrap
asked = socket.socket(fileno=int(sys.argv[1]))
while data := asked.recv(1 << 16):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        job = json.loads(data)
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU):
            resource.setrlimit(kind, (job["limits"][str(kind)],) * 2)
        names = {}
        exec(compile(job["program"], "<solution>", "exec"), names)
        for test in job["tests"]:
            exec(compile(test, "<test>", "exec"), names)
        os.write(write, b"passed")
        os._exit(0)
    os.close(write)
    said = os.read(read, 16)
    os.close(read)
    os.waitpid(child, 0)
    asked.send(said)
"""
BARE = """
import os, sys
source, tests = sys.stdin.buffer.read().split(b"\\0")
for _ in range(int(sys.argv[1])):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        names = {}
        exec(compile(source, "s", "exec"), names)
        exec(compile(tests, "t", "exec"), names)
        os.write(write, b"1")
        os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"1"
    os.close(read)
    os.waitpid(child, 0)
"""


def ours(checks: int) -> None:
    """Through the verifier, cell by cell."""
    from selfimprove import plugins
    from selfimprove.types import Problem, Sample, messages

    judge = plugins.resolve("verifier", "unit_tests")()
    problem = Problem("p", messages("Write triple."), None, {"entry_point": "triple", "tests": TESTS})
    for place in range(checks):
        sample = Sample(str(place), "p", place, "", "", [], PROGRAM, [], "stop", 0, "")
        assert judge(problem, sample).passed
    judge.sandbox.close()


def empty(checks: int) -> None:
    """Cells that are made and end."""
    from selfimprove.sandbox import Limits, Sandbox

    with Sandbox() as sandbox:
        for _ in range(checks):
            sandbox.open("selfimprove.sandbox.zygote:nothing", b"", Limits()).wait()


def zygote(checks: int) -> None:
    """One zygote, asked over a socket; a fork with rlimits for each check, tests in it; nothing is isolated."""
    asks, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-I", "-S", "-c", ZYGOTE, str(asked.fileno())]
    limits = {resource.RLIMIT_AS: 2 << 30, resource.RLIMIT_FSIZE: 1 << 26, resource.RLIMIT_NOFILE: 128}
    job = {"program": PROGRAM, "tests": TESTS, "limits": {**limits, resource.RLIMIT_CPU: 5}}
    with subprocess.Popen(command, pass_fds=[asked.fileno()]) as process:
        asked.close()
        for _ in range(checks):
            asks.send(json.dumps(job).encode())
            assert asks.recv(64) == b"passed"
        asks.close()
        process.wait()


def bare(checks: int) -> None:
    """A loop of forks in a bare interpreter: no requests, no limits, nothing is isolated."""
    told = f"{PROGRAM}\0{chr(10).join(TESTS)}".encode()
    subprocess.run([sys.executable, "-I", "-S", "-c", BARE, str(checks)], input=told, check=True)


def manager(checks: int) -> None:
    """A manager and a guarded fork for each check."""
    context = multiprocessing.get_context("fork")
    for _ in range(checks):
        with context.Manager() as shared:
            said = shared.list()
            process = context.Process(target=_guarded, args=(said,))
            process.start()
            process.join(timeout=4)
            assert list(said) == ["passed"]


def _guarded(said: Any) -> None:
    import builtins
    import shutil

    for name in ("kill", "system", "putenv", "remove", "removedirs", "rmdir", "fchdir", "setuid", "fork", "rename"):
        setattr(os, name, None)
    for name in ("rmtree", "move", "chown"):
        setattr(shutil, name, None)
    builtins.exit = builtins.quit = None  # type: ignore[assignment]
    names: dict[str, Any] = {}
    exec(PROGRAM + "\n".join(TESTS), names)
    said.append("passed")


def _cost(function: Callable[[int], None], checks: int) -> float:
    """Core-seconds of one check, start-up left out by measuring twice."""
    used = [0.0, 0.0]
    for place, count in enumerate((checks // 10, checks)):
        before = _cpu()
        function(count)
        used[place] = _cpu() - before
    return (used[1] - used[0]) / (checks - checks // 10)


def _cpu() -> float:
    time.sleep(0.05)
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def measure(options: Options) -> Result:
    """Pairs in turns; checks per core-second and their ratios."""
    checks = options.samples or CHECKS
    ways = (("ours", ours), ("empty", empty), ("zygote", zygote), ("fork", bare), ("manager", manager))
    rates: dict[str, list[float]] = {name: [] for name, _ in ways}
    for turn in range(1, options.pairs + 1):
        for name, function in ways:
            count = checks if name != "manager" else max(20, checks // 6)
            rates[name].append(1 / fresh(_cost, function, count))
            say(f"turn {turn}: {name} {rates[name][-1]:.0f} checks per core-second")
    result = Result("sandbox")
    result.figures = [
        Figure("ours / a bare zygote that trusts its forks", ratios(rates["ours"], rates["zygote"]), ">= 0.75"),
        Figure("an empty cell / a bare zygote that trusts its forks", ratios(rates["empty"], rates["zygote"])),
        Figure("ours / a loop of forks of a bare interpreter", ratios(rates["ours"], rates["fork"])),
        Figure("ours / a manager and a fork for each check", ratios(rates["ours"], rates["manager"]), ">= 4"),
        *(Figure(f"{name}, checks per core-second", found) for name, found in rates.items()),
    ]
    return result
