"""The six operations on a run directory: put_if_absent, replace_small, read, list, delete, local.

Contract: `put_if_absent` is the only way to commit: the bytes are on disk before the name exists, and exactly one
of several writers wins. `replace_small` is for small files that may be lost (status, lease beat). Paths are
relative, normalised and stay inside the root. A full disk raises `DiskFullError`. This class is for POSIX file
systems with hard links; an object store needs one more class with the same six methods.

See it work: ``pytest tests/store/test_files.py``.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selfimprove.errors import DiskFullError, PreconditionError
from selfimprove.store.failpoints import failpoint

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn 'no space' and 'not allowed' into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFullError(
                f"{path}: no space left on the device ({error.strerror})",
                hint="free some space and run the same command again: everything committed is safe",
            ) from error
        if error.errno in DENIED:
            raise PreconditionError(
                f"{path}: cannot be used ({error.strerror})", hint="choose another place with --run-dir"
            ) from error
        raise


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make a closed file's bytes durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class RunFiles:
    """A run directory. Keys are relative POSIX paths such as ``rounds/001/attempt/samples/COMMITTED.json``."""

    root: Path

    def local(self, key: str) -> Path:
        """The local path of ``key``. ValueError if it would leave the run directory."""
        if key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"{key!r} leaves the run directory")
        return self.root / key

    def folder(self, key: str) -> Path:
        """The local path of a directory, created if need be, private to its owner."""
        path = self.local(key)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def put_if_absent(self, key: str, data: bytes, *, point: str = "step") -> bool:
        """Publish ``data`` under ``key`` once. True if this call did it, False if it was there already."""
        path = self.local(key)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
            try:
                self._write(temporary, data)
                failpoint("marker.synced")
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                failpoint(f"{point}.linked")
            finally:
                temporary.unlink(missing_ok=True)
            sync_dir(path.parent)
            failpoint("marker.dirsynced")
        return True

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)
            failpoint("marker.written")
            file.flush()
            os.fsync(file.fileno())

    def replace_small(self, key: str, data: bytes) -> None:
        """Write a small mutable file: readers see the old bytes or the new, never a mixture."""
        path = self.local(key)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
            try:
                temporary.write_bytes(data)
                failpoint("replace.written")
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def read(self, key: str) -> bytes | None:
        """The bytes under ``key``, or None if there are none."""
        path = self.local(key)
        try:
            with disk_errors(path):
                return path.read_bytes()
        except FileNotFoundError:
            return None

    def list(self, key: str) -> list[str]:
        """Names directly under ``key``, sorted; temporary files left out; empty if there is no such directory."""
        try:
            names = os.listdir(self.local(key))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if not name.endswith(".tmp"))

    def delete(self, key: str) -> None:
        """Remove a file or a whole directory, if it is there. Symbolic links are removed, never followed."""
        path = self.local(key)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
