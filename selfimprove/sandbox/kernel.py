"""The kernel's own walls, by system call: namespaces, mounts, landlock, seccomp. Linux on x86-64 and aarch64.

Contract: standard library only, because a bare interpreter imports it. Every function raises OSError with the name of
the call that failed; nothing is silently skipped.

See it work: ``pytest tests/sandbox``.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP = 0x10000000, 0x20000000, 0x40000000, 0x02000000
ALL_NEW = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP | 0x80
)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
SIGCHLD = 17

# Calls that keep the lock of the interpreter: to give it up and take it again would copy pages in every cell.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_SYSCALL, _MOUNT, _PRCTL, _AFTER_FORK = _LIBC.syscall, _LIBC.mount, _LIBC.prctl, _LIBC.PyOS_AfterFork_Child
_ARM = platform.machine() == "aarch64"
_CLONE, _PIVOT_ROOT, _CAPSET = (220, 41, 91) if _ARM else (56, 155, 126)
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _CLOSE_RANGE = 444, 445, 446, 436

# ptrace process_vm_readv process_vm_writev umount2 mount pivot_root chroot unshare setns bpf perf_event_open keyctl
# add_key request_key userfaultfd kexec_load kexec_file_load init_module finit_module delete_module name_to_handle_at
# open_by_handle_at quotactl swapon swapoff reboot acct settimeofday sethostname setdomainname personality socket
# memfd_create clock_settime
_X86 = (
    101, 310, 311, 166, 165, 155, 161, 272, 308, 321, 298, 250, 248, 249, 323, 246, 320, 175, 313, 176, 303, 304, 179,
    167, 168, 169, 163, 164, 170, 171, 135, 41, 319, 227,
)  # fmt: skip
_AARCH = (
    117, 270, 271, 39, 40, 41, 51, 97, 268, 280, 241, 219, 217, 218, 282, 104, 294, 105, 273, 106, 264, 265, 60, 224,
    225, 142, 89, 170, 161, 162, 92, 198, 279, 112,
)  # fmt: skip
# The same numbers everywhere: io_uring (3), open_tree to fspick, mount_setattr, pidfd_open, pidfd_getfd, memfd_secret.
_COMMON = (425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442, 447)
_AUDIT_ARCH = 0xC00000B7 if _ARM else 0xC000003E
_CLONE3 = 435


def _call(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    _call("unshare", _LIBC.unshare(flags))


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the child, its process id in the parent."""
    process = _call("clone", _SYSCALL(_CLONE, flags | SIGCHLD, 0, 0, 0, 0))
    if process == 0:
        _AFTER_FORK()
    return process


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    what = f"mount {target}"
    _call(what, _MOUNT(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))


def umount(target: str) -> None:
    _call(f"umount {target}", _LIBC.umount2(target.encode(), MNT_DETACH))


def pivot_root(new: str, old: str) -> None:
    _call("pivot_root", _SYSCALL(_PIVOT_ROOT, new.encode(), old.encode()))


def prctl(option: int, *values: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return _call(f"prctl {option}", _PRCTL(option, *padded))


def close_from(first: int) -> None:
    """Close every descriptor from ``first`` on."""
    _call("close_range", _SYSCALL(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), 0))


def drop_capabilities() -> None:
    """Give up every capability of this process."""
    header = struct.pack("=Ii", 0x20080522, 0)
    _call("capset", _SYSCALL(_CAPSET, header, bytes(24)))


# -- landlock ------------------------------------------------------------------------------------------------------

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL


def landlock_abi() -> int:
    """The version of landlock that the kernel has; 0 if none."""
    return max(0, int(_SYSCALL(_LANDLOCK_CREATE, None, 0, 1)))


def landlock(abi: int, readable: list[str], writable: list[str], devices: list[str]) -> None:
    """From now on only these places can be read, written, used; no TCP, no signal or socket to the outside."""
    every = (1 << (13 + (abi >= 2) + (abi >= 3))) - 1 | (_IOCTL if abi >= 5 else 0)
    attributes = struct.pack("=QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = _call("landlock_create_ruleset", _SYSCALL(_LANDLOCK_CREATE, attributes, size, 0))
    for places, access in ((readable, READ), (writable, every), (devices, READ | _WRITE_FILE)):
        for place in places:
            where = os.open(place, os.O_PATH | os.O_CLOEXEC)
            allowed = access & every & (-1 if os.path.isdir(place) else _OF_A_FILE)
            rule = struct.pack("=Qi", allowed, where)
            _call(f"landlock_add_rule {place}", _SYSCALL(_LANDLOCK_ADD, rules, 1, rule, 0))
            os.close(where)
    _call("landlock_restrict_self", _SYSCALL(_LANDLOCK_RESTRICT, rules, 0))
    os.close(rules)


# -- seccomp -------------------------------------------------------------------------------------------------------

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38


def _filter() -> bytes:
    """Classic BPF: another architecture dies, forbidden calls fail with EPERM, everything else is allowed."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    program = [step(load, 4), step(equal, _AUDIT_ARCH, 1, 0), step(give, _KILL), step(load, 0)]
    if not _ARM:
        program += [step(at_least, 0x40000000, 0, 1), step(give, _KILL)]  # the x32 calls have other numbers
    program += [step(equal, _CLONE3, 0, 1), step(give, _ERRNO | _ENOSYS)]  # glibc falls back to clone
    for number in (*(_AARCH if _ARM else _X86), *_COMMON):
        program += [step(equal, number, 0, 1), step(give, _ERRNO | _EPERM)]
    program += [step(equal, _CLONE, 0, 3), step(load, 16), step(any_bit, ALL_NEW & ~0x80, 0, 1)]
    program += [step(give, _ERRNO | _EPERM), step(give, _ALLOW)]
    return b"".join(program)


_PROGRAM = ctypes.create_string_buffer(_filter())


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


_FPROG = _Program(len(_PROGRAM) // 8, ctypes.cast(_PROGRAM, ctypes.c_void_p))


def no_new_privileges() -> None:
    prctl(38, 1)


def seccomp() -> None:
    """Forbid the calls by which a process looks at others, changes namespaces or reaches the network."""
    _call("seccomp", _PRCTL(22, 2, ctypes.byref(_FPROG), 0, 0))
