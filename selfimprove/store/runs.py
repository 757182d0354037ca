"""Reading a run directory from outside: finished rounds, canonical digests. No lease is taken.

Contract: markers are the only truth; ``status.json`` and ``FINISHED.json`` may be missing. The canonical digest of a
run covers samples, verdicts, selected rows, examples, policies and decisions, and nothing that a replay may change
(times, hosts, attempt ids).

See it work: ``pytest tests/chaos``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selfimprove.errors import ConfigError, IntegrityError
from selfimprove.store.digest import digest
from selfimprove.store.files import RunFiles
from selfimprove.store.steps import COMMITTED, Marker, read_marker

PLACES = ("setup", "rounds", "final")


def open_run(path: Path) -> RunFiles:
    """The run in ``path``. ConfigError if there is none."""
    if not (path / "run.json").exists():
        raise ConfigError(f"{path}: not a run directory (no run.json)", hint="give the directory that `run` printed")
    return RunFiles(path)


def read_begun(files: RunFiles) -> dict[str, Any] | None:
    """What ``run.json`` says, or None for a run not begun. IntegrityError if it is damaged."""
    body = read_sealed(files, "run.json")
    if body is None and files.read("run.json") is not None:
        what = f"{files.local('run.json')}: damaged: it does not match its own digest"
        raise IntegrityError(what, hint="restore it from a copy; every other file of the run is as it was")
    return body


def sealed(body: Mapping[str, Any]) -> bytes:
    """A small JSON file with a digest over itself."""
    return json.dumps({**body, "self": digest(body)}, indent=1, sort_keys=True).encode()


def read_sealed(files: RunFiles, key: str) -> dict[str, Any] | None:
    """What `sealed` wrote; None if it is missing or is not that any more."""
    body = read_json(files, key)
    return body if body is not None and body.pop("self", None) == digest(body) else None


def read_json(files: RunFiles, key: str) -> dict[str, Any] | None:
    """A small JSON file that may be missing or, if it is a mutable one, torn."""
    raw = files.read(key)
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def committed(files: RunFiles, key: str = "") -> Iterator[tuple[str, Marker]]:
    """Every committed step below ``key``, by path."""
    for name in files.list(key) if key else PLACES:
        below = f"{key}/{name}" if key else name
        if name.startswith("a-") or name == "parts":
            continue
        if name == COMMITTED:
            marker = read_marker(files, below)
            assert marker is not None
            yield key, marker
        elif files.local(below).is_dir():
            yield from committed(files, below)


def canonical_digest(path: Path) -> str:
    """32 hex digits over everything a run decided and produced, free of times, hosts and attempt ids."""
    return digest(digests(path))


def digests(path: Path) -> Mapping[str, str]:
    """The canonical digest of every committed step, by path: what two equal runs agree on."""
    return {key: marker.digest for key, marker in committed(open_run(path))}


def rounds(files: RunFiles) -> dict[int, Marker]:
    """The markers of finished rounds by number (0 is the warm-up)."""
    found = {}
    for name in files.list("rounds"):
        marker = read_marker(files, f"rounds/{name}/{COMMITTED}")
        if marker is not None:
            found[int(name)] = marker
    return found
