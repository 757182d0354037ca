"""One worker process as its parent holds it: started, fed, listened to, killed.

Contract: nothing here blocks on the child. Killing is SIGKILL to the child's process group, so what a verifier
started dies too, and every descriptor and the process itself are gone when `Child.stop` returns.

See it work: ``pytest tests/verify/test_pool.py``.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import selfimprove
from selfimprove.verify.wire import Progress, decode_reply, frame, split_frames

_ROOT = str(Path(selfimprove.__file__).resolve().parent.parent)
_LAST_WORDS_BYTES = 4000
_NOT_THE_USERS = (os.path.dirname(os.__file__), os.path.dirname(__file__), "<frozen")


@dataclass(slots=True)
class Job:
    """Units of one chunk, sent to one worker: ``indexes`` of the chunk's units, the first ``done`` of them judged.

    ``careful`` and ``deaths`` belong to finding out which sample kills workers.
    """

    number: int
    chunk: int
    indexes: list[int]
    careful: bool = False
    deaths: int = 0
    done: int = 0


class Child:
    """A running worker. ``jobs`` are those it was sent and has not finished, in order."""

    def __init__(self, setup: dict[str, Any], log: str | None) -> None:
        self.jobs: deque[Job] = deque()
        self.ready = self.leaving = False
        self.heard = time.monotonic()
        self._inbox, self._outbox = bytearray(), bytearray()
        mine, theirs = socket.socketpair()
        page = Progress.create()
        words, their_words = os.pipe()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else -1
        os.set_blocking(words, False)
        os.set_blocking(their_words, False)  # the pipe keeps the first words and is never waited for
        mine.setblocking(False)
        passed = [theirs.fileno(), page, descriptor]
        command = [sys.executable, "-P", "-m", "selfimprove.verify.worker", *map(str, passed), str(os.getpid())]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=their_words,
                pass_fds=[number for number in passed if number >= 0],
                env=_environment(),
                start_new_session=True,
                umask=0o077,
            )
            self.progress = Progress(page)
        except BaseException:
            mine.close()
            os.close(words)
            raise
        finally:
            theirs.close()
            for number in (page, their_words, descriptor):
                if number >= 0:
                    os.close(number)
        self._socket, self._words = mine, words
        self.send(frame(pickle.dumps(_setup(setup), pickle.HIGHEST_PROTOCOL)))

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        return bool(self._outbox)

    def send(self, data: bytes) -> None:
        """Queue ``data`` and send what the child takes without waiting. A dead child is noticed when it is read."""
        self._outbox += data
        self.flush()

    def flush(self) -> None:
        try:
            while self._outbox:
                del self._outbox[: self._socket.send(self._outbox)]
        except BlockingIOError:
            return
        except OSError:
            self._outbox.clear()

    def receive(self) -> bool:
        """Take in what has arrived; whether the channel has ended."""
        ended = False
        while not ended:
            try:
                data = self._socket.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            ended = not data
            self._inbox += data
        return ended

    def messages(self) -> Iterator[Any]:
        """What was received, decoded one by one. Raises ValueError at the first that no worker writes."""
        for payload in split_frames(self._inbox):
            self.heard = time.monotonic()
            yield decode_reply(payload)

    def deadline(self, timeout_s: float, start_s: float) -> float:
        """When (monotonic clock) this child must be killed, if it says nothing until then; inf if it owes nothing.

        A sample has ``timeout_s``; loading the verifier, and getting from one sample to the next, ``start_s``.
        """
        since = self.progress.since
        if since and self.jobs:
            return since + timeout_s
        return self.heard + start_s if self.jobs or not self.ready else float("inf")

    def stop(self, grace_s: float = 0.0) -> str:
        """Kill the whole group, reap, close; returns how it died, in words (if by itself, within ``grace_s``)."""
        died = _died(self.process.pid, grace_s)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # not a group leader yet, or nothing left of the group
            self.process.kill()
        code = self.process.wait()
        words = self._last_words()
        self._socket.close()
        os.close(self._words)
        return f"{_exit(code) if died else 'was killed'}{words}"

    def free(self) -> None:
        """Unmap the progress page: after `stop`, when nobody needs to know any more where the child was."""
        self.progress.close()

    def _last_words(self) -> str:
        try:
            text = os.read(self._words, 1 << 16)[-_LAST_WORDS_BYTES:].decode(errors="replace")
        except BlockingIOError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        spot = [line for line in lines if line.startswith("File ") and not any(map(line.count, _NOT_THE_USERS))][:1]
        return f": {(spot or lines[-1:])[0]}" if lines else ""


def _setup(setup: dict[str, Any]) -> dict[str, Any]:
    path = [entry or os.getcwd() for entry in sys.path]
    return {**setup, "path": path, "pythonpath": os.environ.get("PYTHONPATH")}


def _environment() -> dict[str, str]:
    """This package importable even if it is not installed; one thread each, because there is a worker per core."""
    kept = os.environ.get("PYTHONPATH")
    defaults = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    return {**defaults, **os.environ, "PYTHONPATH": _ROOT + (os.pathsep + kept if kept else "")}


def _died(process: int, grace_s: float) -> bool:
    """Whether it ended by itself; it is not reaped, so its process group's number cannot be taken by another."""
    until = time.monotonic() + grace_s
    while hasattr(os, "waitid") and grace_s:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        if time.monotonic() > until:
            break
        time.sleep(0.001)
    return False


def _exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"
