"""The owner's side of the sandbox: one zygote, one cell at a time.

Contract: `Sandbox.open` gives a fresh `Cell`; its deadline is enforced from outside, its output is bounded, and
nothing of it is left when `Cell.wait` or `Cell.kill` returns. A zygote that dies is replaced. Not safe for threads.

How strong its walls are is one of the rungs of `LADDER`; the strongest that this machine allows is taken, and none
below ``weakest``. ``namespaces``: own network, processes, files and user, landlock, seccomp, limits. ``bwrap``: the
same, made by bubblewrap where only that may (cells share a process namespace and a /tmp, one after the other).
``landlock``: no namespaces; files by landlock, the network and other processes by seccomp; a cell can see that other
processes exist, and fill the disk. ``rlimits``: limits alone; a program can read and send what its user can.

See it work: ``pytest tests/sandbox``.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Self

from selfimprove.errors import PreconditionError
from selfimprove.sandbox import places

MAX_FRAME = 16 << 20
START_S, GRACE_S = 30.0, 1.0
MODULES = ("selfimprove.sandbox.inside",)
LADDER = ("namespaces", "bwrap", "landlock", "rlimits")


class SandboxUnavailable(PreconditionError):
    """This machine cannot isolate code as well as was asked."""


class CellTimeout(Exception):
    """The cell's wall time is used up."""


class CellGarbage(Exception):
    """The cell sent what is no message."""


class CellLost(RuntimeError):
    """The sandbox itself failed: nothing can be said of what ran in the cell."""


@dataclass(frozen=True)
class Limits:
    """What a cell may use: seconds of wall time, MiB of memory and disk, processes, bytes of output, open files."""

    wall_s: float = 5.0
    memory_mb: int = 512
    disk_mb: int = 16
    processes: int = 48
    output_bytes: int = 1 << 20
    files: int = 128


@dataclass(frozen=True)
class Ended:
    """How a cell ended: ``exit``, ``signal``, ``timeout``, ``memory``, ``flooded`` (too much output) or ``killed``."""

    how: str
    code: int
    stdout: bytes
    wall_s: float
    cpu_s: float
    memory_mb: int


class Sandbox:
    """One zygote, started at first use and ended by `close`, or with this process; ``weakest`` is a rung of `LADDER`.

    Programs may import what is installed beside this package; the modules in ``preload`` are imported once, before the
    first cell. ``rung`` says how strong its walls are, once started.
    """

    def __init__(self, weakest: str = "bwrap", preload: Sequence[str] = ()) -> None:
        if weakest not in LADDER:
            raise ValueError(f"isolation {weakest!r} is none of {', '.join(LADDER)}")
        missing = [name for name in preload if find_spec(name.partition(".")[0]) is None]
        if missing:
            raise ValueError(f"preload names {', '.join(missing)}, which is not installed here")
        self.rung, self._preload = "", list(preload)
        self._allowed = LADDER[: LADDER.index(weakest) + 1]
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()
        self._cell: Cell | None = None

    def open(self, entry: str, job: bytes, limits: Limits, *, stdin: bytes | None = None) -> Cell:
        """A fresh cell that runs ``entry`` (``module:function``, called with the channel's descriptor).

        ``job`` is its first frame. ``stdin`` becomes a seekable file, and standard output is captured; without it both
        lead nowhere. Raises SandboxUnavailable if there is no isolation, CellLost if the zygote cannot make a cell.
        """
        if self._owner != os.getpid():  # a fork must not speak on its parent's channel
            self._process = self._control = self._cell = None
            self._owner = os.getpid()
        if self._cell is not None:
            self._cell.kill()
        self.start()
        self._cell = Cell(self, entry, limits, stdin)
        self._cell.send(job)
        return self._cell

    def start(self) -> str:
        """Start the zygote if it is not there; the rung it stands on. Raises SandboxUnavailable."""
        if self._process is not None and self._process.poll() is None:
            return self.rung
        self.close()
        if sys.platform != "linux":
            raise SandboxUnavailable("the sandbox needs Linux: namespaces, landlock and seccomp")
        refused = []
        for rung in [self.rung] if self.rung else self._allowed:
            why = self._start(rung)
            if why is None:
                self.rung = rung
                return rung
            refused.append(f"{rung}: {why}")
        hint = "allow user namespaces (sysctl user.max_user_namespaces) or run as root, on Linux 5.19 or newer"
        weaker = LADDER[len(self._allowed) :]
        if weaker:
            hint += f"; or accept weaker walls: isolation: {' or '.join(weaker)}"
        raise SandboxUnavailable(f"code cannot be isolated on this machine ({'; '.join(refused)})", hint=hint)

    def _start(self, rung: str) -> str | None:
        """Start the zygote on ``rung``; why it cannot, or None."""
        prefix = places.bubble() if rung == "bwrap" else []
        if prefix is None:
            return "bubblewrap is not installed" if os.geteuid() else "the root user needs no bubblewrap"
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._scratch = tempfile.TemporaryDirectory(prefix="selfimprove-cell-", ignore_cleanup_errors=True)
        scratch = os.path.realpath(self._scratch.name)
        root = os.geteuid() == 0
        if root:
            os.chmod(scratch, 0o711)  # cells have another user
        settings = {
            "owner": os.getpid(),
            "rung": rung,
            "root": root,
            "user": 60000 + os.getpid() % 5000 if root else 0,
            "mountpoint": scratch,
            "scratch": "/tmp" if rung == "bwrap" else scratch,
            "readable": places.python(),
            "visible": ["/"],
            "path": places.packages(),
            "modules": [*MODULES, *(name for name in self._preload if name.startswith("selfimprove."))],
            "preload": [name for name in self._preload if not name.startswith("selfimprove.")],
        }
        python = places.starter(theirs.fileno(), settings)
        self._process = subprocess.Popen(
            [*prefix, *python],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=places.ENVIRONMENT,
            cwd="/",
        )
        theirs.close()
        self._control = mine
        said = self._hear(START_S)
        if rung in ("namespaces", "bwrap"):  # its files are elsewhere
            self._drop_scratch()
        if said is not None and "ready" in said:
            return None
        why = (said or {}).get("broken") or self._last_words() or "it did not start"
        self.close()
        return str(why)

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _last_words(self) -> str:
        assert self._process is not None and self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        return (self._process.stderr.read() or b"").decode(errors="replace").strip().rpartition("\n")[2]

    def _hear(self, timeout_s: float) -> dict[str, Any] | None:
        assert self._control is not None
        if not select.select([self._control], [], [], max(0.0, timeout_s))[0]:
            return None
        data = self._control.recv(1 << 16)
        return json.loads(data) if data else None

    def close(self) -> None:
        """End the zygote and whatever it holds."""
        self._cell = None
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            if self._owner == os.getpid():
                try:  # without its channel it ends by itself, and its time is accounted for
                    self._process.wait(timeout=0.5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
        if self._owner == os.getpid():
            self._drop_scratch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Cell:
    """One check under way. Made by `Sandbox.open`."""

    def __init__(self, sandbox: Sandbox, entry: str, limits: Limits, stdin: bytes | None) -> None:
        self.limits, self._sandbox = limits, sandbox
        self._deadline = time.monotonic() + limits.wall_s
        self._ended: Ended | None = None
        self._inbox, self._stdout, self._output = bytearray(), bytearray(), -1
        self._channel, theirs = socket.socketpair()
        passed = [theirs.fileno()]
        if stdin is not None:
            source = os.memfd_create("stdin")
            os.write(source, b"") if not stdin else _write_all(source, stdin)
            os.lseek(source, 0, os.SEEK_SET)
            self._output, sink = os.pipe()
            passed += [source, sink]
        assert sandbox._control is not None
        request = json.dumps({**vars(limits), "entry": entry}).encode()
        try:
            socket.send_fds(sandbox._control, [request], passed)
        except OSError as error:
            sandbox.close()
            raise CellLost(f"the sandbox ended: {error}") from error
        finally:
            theirs.close()
            for number in passed[1:]:
                os.close(number)

    def send(self, payload: bytes) -> None:
        """Send a frame. A cell that is gone is noticed when it is heard; CellTimeout if it takes nothing."""
        view = memoryview(len(payload).to_bytes(4, "big") + payload)
        while view:
            self._channel.settimeout(max(0.001, self._deadline - time.monotonic()))
            try:
                view = view[self._channel.send(view) :]
            except TimeoutError as error:
                raise CellTimeout from error
            except OSError:
                return

    def receive(self) -> bytes | None:
        """The next frame; None if the cell ended or closed its channel. Raises CellTimeout and CellGarbage."""
        while True:
            if len(self._inbox) >= 4:
                size = int.from_bytes(self._inbox[:4], "big")
                if size > MAX_FRAME:
                    raise CellGarbage(f"a message of {size} bytes")
                if len(self._inbox) >= 4 + size:
                    payload = bytes(self._inbox[4 : 4 + size])
                    del self._inbox[: 4 + size]
                    return payload
            self._channel.settimeout(max(0.001, self._deadline - time.monotonic()))
            try:
                piece = self._channel.recv(1 << 18)
            except TimeoutError as error:
                raise CellTimeout from error
            except OSError:
                piece = b""
            if not piece:
                return None
            self._inbox += piece

    def wait(self) -> Ended:
        """Let the cell end by itself or by its limits; what it printed is in `Ended.stdout`."""
        control, flooded, output = self._sandbox._control, False, self._output
        watched: list[Any]
        while self._ended is None and control is not None:
            left = self._deadline + GRACE_S - time.monotonic()
            watched = [control, *([output] if output >= 0 else [])]
            ready = select.select(watched, [], [], max(0.0, left))[0]
            if output in ready:
                piece = os.read(output, 1 << 16)
                self._stdout += piece
                if not piece:
                    output = -1
                elif len(self._stdout) > self.limits.output_bytes:
                    flooded = True
                    self._end_now()
            elif control in ready:
                self._finish(self._sandbox._hear(0.0), flooded)
            elif left <= 0:
                self._finish(None, flooded)
        assert self._ended is not None
        return self._ended

    def kill(self) -> Ended:
        """End the cell now, with all that is in it."""
        if self._ended is None:
            self._end_now()
            return self.wait()
        return self._ended

    def _end_now(self) -> None:
        assert self._sandbox._control is not None
        try:
            self._sandbox._control.send(b'{"kill": 1}')
        except OSError:
            return

    def _finish(self, said: dict[str, Any] | None, flooded: bool) -> None:
        self._channel.close()
        if self._output >= 0:
            os.set_blocking(self._output, False)
            try:
                while (piece := os.read(self._output, 1 << 16)) and len(self._stdout) <= self.limits.output_bytes:
                    self._stdout += piece
            except BlockingIOError:
                pass
            os.close(self._output)
            flooded = flooded or len(self._stdout) > self.limits.output_bytes
        self._sandbox._cell = None
        self._ended = Ended("killed", -9, bytes(self._stdout), 0.0, 0.0, 0)
        if said is None:
            self._sandbox.close()
            raise CellLost("the sandbox did not say how a cell ended")
        self._ended = Ended(stdout=bytes(self._stdout), **{**said, "how": "flooded" if flooded else said["how"]})


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
