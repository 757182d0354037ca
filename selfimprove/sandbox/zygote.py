"""The process that makes cells: a bare interpreter behind the outer walls, which clones itself for every check.

Contract: started by `selfimprove.sandbox.client` as ``python -I -S`` before anything heavy is imported; standard
library only. On the strongest rung it lives in namespaces of its own (user if it is not root, net, ipc, uts, pid,
mount) under a read-only root that shows Python and nothing of the user. Each request makes one cell: new PID and mount
namespace, own tmpfs, other uid, rlimits, landlock, seccomp. The cell's wall time and its memory are watched from here;
it is ended by SIGKILL to its namespace's init, which ends all that is in it. On the weaker rungs a cell is a process
with a folder of its own, and what it leaves behind is found by descent and killed. The zygote dies with its owner.

See it work: ``pytest tests/sandbox``.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from selfimprove.sandbox import kernel

WATCH_S, SWEEP_S = 0.03, 5.0
ROOM = 32
PACKAGES = "/packages"
MIB = 1 << 20
DEVICES = ("null", "zero", "full", "random", "urandom")
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36


def main(control: int, settings: dict[str, Any]) -> None:
    """Build the walls, then make cells until the owner closes the control channel."""
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != settings["owner"] and settings["rung"] != "bwrap":  # bwrap ends it with its owner
        os._exit(0)
    os.umask(0o022)  # the owner's may hide the new root from the cells' user
    channel = socket.socket(fileno=control)
    importlib.import_module("resource")  # once, and not in each cell
    own = [importlib.import_module(name) for name in settings["modules"]]  # behind the walls their files are not seen
    try:
        walled = settings["rung"] == "namespaces"
        proc = _walled(channel, settings) if walled else os.open("/proc", os.O_RDONLY)
        sys.path += [f"{PACKAGES}{at}" for at in range(len(settings["path"]))] if walled else settings["path"]
        if walled:  # some packages write as they are imported; what they wrote is gone in the cells
            kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64m,mode=700")
        for name in settings["preload"]:
            importlib.import_module(name)
        for module in own:
            module.warm()
        if walled:
            kernel.umount("/tmp")
        serve = Zygote(channel, proc, settings)
        serve.probe()
    except OSError as error:
        _tell(channel, {"broken": str(error)})
        os._exit(1)
    gc.collect()
    gc.freeze()
    _tell(channel, {"ready": True})
    serve.forever()


def nothing(channel: int) -> None:
    """What the first cell runs: can a program read Python's library?"""
    with open(os.__file__):
        return


def _walled(channel: socket.socket, settings: dict[str, Any]) -> int:
    """Go on as the init of namespaces of its own; returns its /proc."""
    _namespaces(settings)
    child = os.fork()  # into the new PID namespace, as its init
    if child:
        channel.close()
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return _root(settings)


def _tell(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.send(json.dumps(message).encode())


def _namespaces(settings: dict[str, Any]) -> None:
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID
    if settings["root"]:
        kernel.unshare(flags)
        return
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(flags | kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"60000 {user} 1"), ("gid_map", f"60000 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _root(settings: dict[str, Any]) -> int:
    """A read-only root with Python in it; returns a descriptor of this namespace's /proc, which no path leads to."""
    new = settings["mountpoint"]
    kernel.mount("", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", new, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    for place in _distinct([*SYSTEM, *settings["readable"]]):
        _bind(place, new + place)
    for at, place in enumerate(settings["path"]):  # elsewhere, because a cell has a /tmp of its own
        _bind(place, f"{new}{PACKAGES}{at}")
    for name in DEVICES:
        _bind(f"/dev/{name}", f"{new}/dev/{name}", readonly=False)
    for name in ("tmp", "proc", ".old"):
        os.makedirs(f"{new}/{name}", exist_ok=True)
    kernel.mount("proc", f"{new}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    proc = os.open(f"{new}/proc", os.O_RDONLY | os.O_DIRECTORY)
    kernel.umount(f"{new}/proc")
    kernel.pivot_root(new, f"{new}/.old")
    os.chdir("/")
    kernel.umount("/.old")
    os.rmdir("/.old")
    kernel.mount("", "/", None, kernel.MS_REMOUNT | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    return proc


def _distinct(places: list[str]) -> list[str]:
    """Existing places, none below another."""
    found: list[str] = []
    for place in sorted({os.path.realpath(p) if not os.path.islink(p) else p for p in places if os.path.lexists(p)}):
        if not any(place == known or place.startswith(known + "/") for known in found if not os.path.islink(known)):
            found.append(place)
    return found


def _bind(source: str, target: str, readonly: bool = True) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        with open(target, "w"):
            pass
    kernel.mount(source, target, None, kernel.MS_BIND | kernel.MS_REC)
    if readonly:
        kept = os.statvfs(target).f_flag & (kernel.MS_NODEV | kernel.MS_NOEXEC | 1024 | 2048)  # atime flags are locked
        flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kept
        kernel.mount("", target, None, flags)


class Zygote:
    """Makes one cell at a time, watches it to its end and says how it ended."""

    def __init__(self, channel: socket.socket, proc: int, settings: dict[str, Any]) -> None:
        self.channel, self.proc, self.settings, self.made = channel, proc, settings, 0
        self.walled, self.guarded = settings["rung"] == "namespaces", settings["rung"] != "rlimits"
        self.abi = kernel.landlock_abi()
        if self.guarded and self.abi < 1:
            raise OSError("landlock: this kernel has none")
        if not self.walled:
            kernel.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a cell leaves behind becomes a child of this process
            places = [*SYSTEM, *settings["readable"], *settings["path"]]
            settings["visible"] = [place for place in places if os.path.exists(place)]
        self.others = self._others()

    def probe(self) -> None:
        """Make one cell. Raises OSError if that fails."""
        limits = {"wall_s": 5.0, "memory_mb": 512, "disk_mb": 1, "files": 32, "processes": 8}
        request = {**limits, "entry": "selfimprove.sandbox.zygote:nothing"}
        ended = self.cell(request, [os.open("/dev/null", os.O_RDWR)])
        if (ended["how"], ended["code"]) != ("exit", 0):
            raise OSError(f"no cell can be made that reads {os.__file__} ({ended['how']} {ended['code']})")

    def forever(self) -> None:
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.channel, 1 << 16, 8)
            if not data:
                os._exit(0)
            request = json.loads(data)
            if "kill" in request:
                continue  # of a cell that has ended already
            _tell(self.channel, self.cell(request, descriptors))

    def cell(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        began = time.monotonic()
        home = "/tmp" if self.walled else self._home()
        request["processes"] += self.others
        child = kernel.clone(kernel.CLONE_NEWPID | kernel.CLONE_NEWNS if self.walled else 0)
        if child == 0:
            self._become(request, descriptors, home)
        for number in descriptors:
            os.close(number)
        pid = os.pidfd_open(child)
        try:
            how, peak = self._watch(pid, request, began)
        finally:
            os.close(pid)
        _, status, usage = os.wait4(child, 0)
        if self.walled:
            self._reap()
        else:
            self._sweep(home)
        code = os.waitstatus_to_exitcode(status)
        return {
            "how": how or ("exit" if code >= 0 else "signal"),
            "code": code,
            "wall_s": time.monotonic() - began,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "memory_mb": max(peak, usage.ru_maxrss // 1024),
        }

    def _watch(self, pid: int, request: dict[str, Any], began: float) -> tuple[str, int]:
        """Wait for the end of the cell, or end it; how, and its largest memory in MiB."""
        deadline, peak = began + request["wall_s"], 0
        poll = select.poll()
        poll.register(pid, select.POLLIN)
        poll.register(self.channel, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = dict(poll.poll(max(0.0, min(left, WATCH_S)) * 1000))
            if pid in ready:
                return "", peak
            how = "timeout" if left <= 0 else ""
            if self.channel.fileno() in ready:
                if not self.channel.recv(1 << 16):
                    os._exit(0)
                how = "killed"
            if not ready and not how:
                peak = max(peak, self._memory(request["memory_mb"]))
                how = "memory" if peak > request["memory_mb"] else ""
            if how:
                signal.pidfd_send_signal(pid, signal.SIGKILL)
                return how, peak

    def _memory(self, limit_mb: int) -> int:
        """MiB of all processes of the cell: what each has resident, and if that is much, its share of it."""
        import resource

        processes = self._processes()
        pages = sum(self._read(f"{name}/statm", 1) for name in processes)
        total = pages * (resource.getpagesize() >> 10) >> 10
        if total > limit_mb:
            total = sum(self._read(f"{name}/smaps_rollup", 0, b"Pss:") for name in processes) >> 10
        return total

    def _processes(self) -> list[int]:
        """All processes of the cell: those of the namespace, or else those that descend from this process."""
        found = [int(name) for name in os.listdir(self.proc) if name.isdecimal()]
        if self.walled:
            return [number for number in found if number != 1]
        parents = {number: self._read(f"{number}/status", 0, b"PPid:") for number in found}
        cell: list[int] = []
        layer = [os.getpid()]
        while layer:
            layer = [number for number, parent in parents.items() if parent in layer]
            cell += layer
        return cell

    def _others(self) -> int:
        """Threads that count against this user's limit without being of the cell, and room for more of them."""
        if self.settings["user"] or self.settings["rung"] in ("namespaces", "bwrap"):
            return 0  # cells have a user of their own, or a user namespace
        mine = [name for name in os.listdir(self.proc) if name.isdecimal()]
        mine = [name for name in mine if self._read(f"{name}/status", 0, b"Uid:") == os.getuid()]
        return ROOM + sum(self._read(f"{name}/status", 0, b"Threads:") for name in mine)

    def _home(self) -> str:
        """A folder for a cell that has no file system of its own."""
        self.made += 1
        home = f"{self.settings['scratch']}/cell-{self.made}"
        os.mkdir(home, 0o700)
        if self.settings["user"]:
            os.chown(home, self.settings["user"], self.settings["user"])
        return home

    def _sweep(self, home: str) -> None:
        """End what a cell without a namespace has left: processes, then files."""
        import shutil  # heavy, and needed on the weaker rungs only

        until = time.monotonic() + SWEEP_S
        while left := self._processes():
            if time.monotonic() > until:
                os._exit(1)  # the owner takes that for an error and starts another
            for number in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            self._reap()
        shutil.rmtree(home, ignore_errors=True)

    def _read(self, name: str, field: int, line: bytes = b"") -> int:
        try:
            descriptor = os.open(name, os.O_RDONLY, dir_fd=self.proc)
        except OSError:  # it has ended meanwhile
            return 0
        try:
            text = os.read(descriptor, 4096)
        except OSError:
            return 0
        finally:
            os.close(descriptor)
        words = text.partition(line)[2].split() if line else text.split()
        return int(words[field]) if len(words) > field else 0

    def _reap(self) -> None:
        """Processes of a dead cell that were handed to this one, the init of the namespace around."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    def _become(self, request: dict[str, Any], descriptors: list[int], home: str) -> None:
        """In the cell: put up the inner walls, run the entry, end. Never returns."""
        try:
            self._lock(request, descriptors, home)
            module, _, name = request["entry"].partition(":")
            getattr(sys.modules[module], name)(3)
            os._exit(0)
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
        except BaseException:  # the wall of the sandbox: whatever happens in a cell ends the cell
            os._exit(1)

    def _lock(self, request: dict[str, Any], descriptors: list[int], home: str) -> None:
        import resource

        user = self.settings["user"]
        if self.walled:
            kernel.mount(
                "tmpfs", home, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV,
                f"size={request['disk_mb']}m,nr_inodes=10000,mode=700" + (f",uid={user},gid={user}" if user else ""),
            )  # fmt: skip
        else:
            os.setsid()
            os.environ["HOME"] = os.environ["TMPDIR"] = home
        os.chdir(home)
        null = os.open("/dev/null", os.O_RDWR)
        stdin, stdout = (descriptors[1], descriptors[2]) if len(descriptors) > 2 else (null, null)
        moved = [os.dup2(number, 100 + at) for at, number in enumerate((stdin, stdout, null, descriptors[0]))]
        for at, number in enumerate(moved):
            os.dup2(number, at, inheritable=True)
        os.set_inheritable(3, False)
        kernel.close_from(4)
        limits = {
            resource.RLIMIT_AS: (2 * request["memory_mb"] + 512) * MIB,
            resource.RLIMIT_FSIZE: max(request["disk_mb"], 64) * MIB,
            resource.RLIMIT_NOFILE: request["files"],
            resource.RLIMIT_NPROC: request["processes"],
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: int(request["wall_s"]) * request["processes"] + 2,
        }
        for kind, value in limits.items():
            resource.setrlimit(kind, (value, value))
        kernel.no_new_privileges()
        if user:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        kernel.drop_capabilities()
        kernel.prctl(PR_SET_DUMPABLE, 0)
        if self.guarded:
            devices = ["/dev"] if self.walled else [f"/dev/{name}" for name in DEVICES]
            kernel.landlock(self.abi, self.settings["visible"], [home], devices)
            kernel.seccomp()


def frame_read(descriptor: int) -> bytes | None:
    """The next frame of a channel: four bytes of length, then the payload; None at its end."""
    header = _exactly(descriptor, 4)
    return None if header is None else _exactly(descriptor, int.from_bytes(header, "big"))


def frame_write(descriptor: int, payload: bytes) -> None:
    view = memoryview(len(payload).to_bytes(4, "big") + payload)
    while view:
        view = view[os.write(descriptor, view) :]


def _exactly(descriptor: int, size: int) -> bytes | None:
    found = array.array("B")
    while len(found) < size:
        piece = os.read(descriptor, min(size - len(found), 1 << 16))
        if not piece:
            return None
        found.frombytes(piece)
    return found.tobytes()
