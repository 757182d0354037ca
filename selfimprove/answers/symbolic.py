"""Equality that only computer algebra can decide, asked of a helper process that may be killed.

Contract: `equal` answers True, False or None (not known within the limit) and takes no longer than its limit, once the
helper has started. One helper belongs to a process (a fork starts its own), is started at the first question, and dies
with it; every question runs in a child of the helper, so a bomb costs its own limit and the next question starts at
once. Answers are cached. No signal, no thread, no evaluation of text.

See it work: ``pytest tests/verifiers``.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict

from selfimprove.answers.tree import Tree, plain

START_LIMIT_S = 60.0
MEMORY_MB = 1024
CACHED = 4096
GRACE_S = 0.5


class HelperLost(RuntimeError):
    """The helper could not be started, or ended: the verifier cannot judge."""


class Helper:
    """One helper process and the pipes to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "selfimprove.answers.algebra", str(os.getpid())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
        )
        self.ready = False

    def ask(self, question: bytes, limit_s: float) -> str:
        if not self.ready:
            self._line(START_LIMIT_S)
            self.ready = True
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(question + b"\n")
        except OSError as error:
            raise HelperLost(f"the algebra helper ended: {error}") from error
        return self._line(limit_s + GRACE_S)

    def _line(self, limit_s: float) -> str:
        assert self.process.stdout is not None
        until, found = time.monotonic() + limit_s, b""
        while not found.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            piece = self.process.stdout.read(64)
            if not piece:
                raise HelperLost("the algebra helper ended (is there memory enough for sympy?)")
            found += piece
        return found.decode().strip()

    def close(self) -> None:
        """End the helper and its child. Called twice it does nothing."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


_LOCK = threading.Lock()
_CACHE: OrderedDict[tuple[Tree, Tree, bool], bool | None] = OrderedDict()
_HELPER: list[Helper] = []


def equal(one: Tree, two: Tree, limit_s: float, *, proportional: bool = False) -> bool | None:
    """Whether two expressions are equal (``proportional``: equal up to a number); None if that is not known in time.

    Raises HelperLost if the helper cannot work at all.
    """
    key = (one, two, proportional)
    with _LOCK:
        if key in _CACHE:
            _CACHE.move_to_end(key)
            return _CACHE[key]
        found = _asked(one, two, limit_s, proportional)
        _CACHE[key] = found
        while len(_CACHE) > CACHED:
            _CACHE.popitem(last=False)
        return found


def _asked(one: Tree, two: Tree, limit_s: float, proportional: bool) -> bool | None:
    question = {
        "one": plain(one), "two": plain(two), "proportional": proportional, "limit_s": limit_s, "memory_mb": MEMORY_MB
    }  # fmt: skip
    try:
        answer = _helper().ask(json.dumps(question).encode(), limit_s)
    except TimeoutError:
        close()
        return None
    except HelperLost:
        close()
        raise
    return {"same": True, "different": False}.get(answer)


def _helper() -> Helper:
    if _HELPER and (_HELPER[0].owner != os.getpid() or _HELPER[0].process.poll() is not None):
        _HELPER.pop().close()
    if not _HELPER:
        _HELPER.append(Helper())
    return _HELPER[0]


def close() -> None:
    """End the helper of this process, if there is one."""
    while _HELPER:
        _HELPER.pop().close()


atexit.register(close)
os.register_at_fork(after_in_child=_LOCK._at_fork_reinit)  # type: ignore[attr-defined]
