"""Durable steps: work happens in a unique attempt directory, a marker written last makes it count.

Contract: a step's identity is its path. Its marker records the *fingerprint*: named inputs with their digests.
Opening a step whose recorded inputs differ from the ones asked for raises `FingerprintError` naming each
difference. Outputs are synced before the marker is linked; a marker is linked once; nothing is renamed. A step may
have parts, each with its own marker. Outputs are checked against size on every opening and against their hash on
first use by a process.

See it work: ``pytest tests/store/test_steps.py``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfimprove.errors import FingerprintError, IntegrityError
from selfimprove.store.digest import digest, digest_file
from selfimprove.store.failpoints import failpoint
from selfimprove.store.files import RunFiles, disk_errors, sync_dir, sync_file
from selfimprove.store.lease import Lease

SCHEMA, VERSION = "selfimprove.marker", 1
COMMITTED = "COMMITTED.json"

_verified: set[tuple[str, int, int]] = set()


@dataclass(frozen=True)
class Output:
    """A file that a marker vouches for; ``path`` is relative to the step."""

    path: str
    size: int
    blake3: str


@dataclass(frozen=True)
class Marker:
    """What a finished step or part says of itself.

    ``digest`` is the canonical digest of the result: free of times, hosts and attempt ids, so that an interrupted
    run can be compared with an unbroken one. ``data`` holds small results (figures, a policy).
    """

    inputs: Mapping[str, str]
    outputs: tuple[Output, ...]
    digest: str
    counts: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    fencing: int = 0

    def to_json(self) -> bytes:
        """The bytes of the marker file, with a digest over themselves."""
        body = {"schema": SCHEMA, "version": VERSION, **_plain(self)}
        return json.dumps({**body, "self": digest(body)}, sort_keys=True, indent=1).encode()


def _plain(marker: Marker) -> dict[str, Any]:
    plain = {name: getattr(marker, name) for name in ("inputs", "digest", "counts", "data", "seconds", "fencing")}
    plain["outputs"] = [{"path": o.path, "size": o.size, "blake3": o.blake3} for o in marker.outputs]
    return plain


def read_marker(files: RunFiles, key: str) -> Marker | None:
    """The marker under ``key``, or None. IntegrityError if it is damaged or from a newer release."""
    raw = files.read(key)
    if raw is None:
        return None
    where = files.local(key)
    try:
        body = json.loads(raw)
        stated = body.pop("self")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise IntegrityError(f"{where}: damaged marker ({error})", hint=_redo(files, key)) from error
    if body.get("version", 0) > VERSION:
        raise IntegrityError(f"{where}: written by a newer release", hint="upgrade selfimprove to read this run")
    if stated != digest(body):
        raise IntegrityError(f"{where}: the marker does not match its own digest", hint=_redo(files, key))
    outputs = tuple(Output(**output) for output in body["outputs"])
    names = ("inputs", "digest", "counts", "data", "seconds", "fencing")
    return Marker(outputs=outputs, **{name: body[name] for name in names})


def _redo(files: RunFiles, key: str) -> str:
    """How to have a step done again; a round that is finished must be opened again for it."""
    step = key.removesuffix(f"/{COMMITTED}").partition("/parts/")[0]
    places = [files.local(step)]
    if step.startswith("rounds/"):
        finished = files.local("/".join(step.split("/")[:2])) / COMMITTED
        places = [finished] if step.count("/") == 1 else [*places, finished]
    what = " and ".join(map(str, places))
    return f"restore the file from a copy, or delete {what}: the same command does it again, with the same seeds"


@dataclass
class Step:
    """A durable unit of work under ``key``. Made by `open_step`."""

    files: RunFiles
    key: str
    inputs: Mapping[str, str]
    lease: Lease | None
    marker: Marker | None = None
    parts: dict[int, Marker] = field(default_factory=dict)
    _attempt: str = ""

    def workdir(self) -> Path:
        """This process's own attempt directory; never renamed."""
        if not self._attempt:
            self._attempt = f"a-{uuid.uuid4().hex[:12]}"
        return self.files.folder(f"{self.key}/{self._attempt}")

    def publish(
        self,
        outputs: Sequence[Path] = (),
        *,
        digest: str,
        counts: Mapping[str, int] | None = None,
        data: Mapping[str, Any] | None = None,
        seconds: Mapping[str, float] | None = None,
        part: int | None = None,
    ) -> Marker:
        """Sync ``outputs`` (files below `workdir`), then link the marker. The winner's marker is returned.

        LeaseLost (exit code 76) if another process has taken the run over meanwhile.
        """
        root = self.files.local(self.key)
        with disk_errors(root):
            sealed = tuple(_seal(path, root) for path in outputs)
            for folder in sorted({path.parent for path in outputs}):
                sync_dir(folder)
        failpoint("part.synced")
        fencing = self.lease.check() if self.lease else 0
        marker = Marker(dict(self.inputs), sealed, digest, counts or {}, data or {}, seconds or {}, fencing)
        key = f"{self.key}/{COMMITTED}" if part is None else part_key(self.key, part)
        won = self.files.put_if_absent(key, marker.to_json(), point="step" if part is None else "part")
        if not won:
            theirs = read_marker(self.files, key)
            assert theirs is not None
            marker = theirs
        if part is None:
            self.marker = marker
        else:
            self.parts[part] = marker
        return marker

    def withdraw(self, part: int) -> None:
        """Take back a part of a step that is not complete: it will be published again."""
        assert self.marker is None, "what is complete stays"
        self.files.delete(part_key(self.key, part))
        for output in self.parts.pop(part).outputs:
            self.files.delete(f"{self.key}/{output.path}")

    def path(self, output: Output) -> Path:
        """The local path of an output, checked: size always, hash on first use by this process.

        IntegrityError naming the file if it is missing or damaged.
        """
        path = self.files.local(f"{self.key}/{output.path}")
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise IntegrityError(f"{path}: a committed file is missing", hint=_redo(self.files, self.key)) from error
        if status.st_size != output.size:
            raise IntegrityError(
                f"{path}: committed with {output.size} bytes, now {status.st_size}", hint=_redo(self.files, self.key)
            )
        known = (str(path), status.st_size, status.st_mtime_ns)
        if known not in _verified:
            if digest_file(path) != output.blake3:
                what = f"{path}: its content does not match its digest"
                raise IntegrityError(what, hint=_redo(self.files, self.key))
            _verified.add(known)
        return path


def _seal(path: Path, root: Path) -> Output:
    failpoint("part.written")
    sync_file(path)
    output = Output(str(path.relative_to(root)), path.stat().st_size, digest_file(path))
    status = path.stat()
    _verified.add((str(path), status.st_size, status.st_mtime_ns))
    return output


def part_key(key: str, part: int) -> str:
    """Where the marker of a part lies."""
    return f"{key}/parts/{part:06d}.json"


def open_step(files: RunFiles, key: str, inputs: Mapping[str, str], lease: Lease | None = None) -> Step:
    """The step under ``key``, with what is already committed of it.

    Raises FingerprintError if it was begun with other inputs. Files that no marker names are removed: they are what
    a killed attempt left, and only the holder of the lease opens steps.
    """
    step = Step(files, key, dict(inputs), lease, read_marker(files, f"{key}/{COMMITTED}"))
    step.parts = read_parts(files, key)
    known = step.marker or next(iter(step.parts.values()), None)
    if known is not None:
        _compare(files.local(key), known.inputs, inputs)
    if step.marker is None and lease is not None:
        _sweep(step)
    return step


def read_parts(files: RunFiles, key: str) -> dict[int, Marker]:
    """All committed parts of a step by number."""
    parts = {}
    for name in files.list(f"{key}/parts"):
        marker = read_marker(files, f"{key}/parts/{name}")
        assert marker is not None
        parts[int(name.removesuffix(".json"))] = marker
    return parts


def check_files(files: RunFiles, place: str) -> None:
    """Check every file of the step that holds ``place`` (an absolute path); outside the run nothing is checked.

    IntegrityError naming the file. Costs a hash per file, once in a process.
    """
    if not Path(place).is_relative_to(files.root):
        return
    key = str(Path(place).relative_to(files.root)).partition("/a-")[0]
    marker = read_marker(files, f"{key}/{COMMITTED}")
    for output in marker.outputs if marker else ():
        Step(files, key, {}, None).path(output)


def _compare(where: Path, recorded: Mapping[str, str], asked: Mapping[str, str]) -> None:
    names = sorted(set(recorded) | set(asked))
    changed = [name for name in names if recorded.get(name) != asked.get(name)]
    if changed:
        lines = [f"{name}: {_short(recorded.get(name))} -> {_short(asked.get(name))}" for name in changed]
        raise FingerprintError(
            f"{where} was made with other inputs:\n  " + "\n  ".join(lines),
            hint="undo the change, or start another run with --run-dir: finished work is never overwritten",
        )


def _short(value: str | None) -> str:
    if value is None:
        return "(none)"
    return value if len(value) <= 60 else value[:57] + "..."


def _sweep(step: Step) -> None:
    kept = {output.path for marker in step.parts.values() for output in marker.outputs}
    for name in step.files.list(step.key):
        if not name.startswith("a-"):
            continue
        inside = step.files.list(f"{step.key}/{name}")
        for entry in inside:
            if not any(path == f"{name}/{entry}" or path.startswith(f"{name}/{entry}/") for path in kept):
                step.files.delete(f"{step.key}/{name}/{entry}")
        if not step.files.list(f"{step.key}/{name}"):
            step.files.delete(f"{step.key}/{name}")
