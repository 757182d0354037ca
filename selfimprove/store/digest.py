"""Digests: one canonical JSON, one hash (BLAKE3), seeds derived from them.

Contract: equal values have equal digests on every machine; a value without a stable form (a function, an open
file) is refused instead of hashed by its address.

See it work: ``pytest tests/store/test_digest.py``.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from blake3 import blake3

CHUNK = 1 << 20


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8. TypeError for anything without a stable form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain).encode(
        "utf-8", "surrogatepass"
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{value!r} has no stable digest: pass its name or its data instead")


def digest(value: Any) -> str:
    """32 hex digits of the canonical JSON of ``value``."""
    return blake3(canonical(value)).hexdigest(length=16)


def digest_bytes(data: bytes | memoryview) -> str:
    """32 hex digits of raw bytes."""
    return blake3(data).hexdigest(length=16)


def digest_file(path: Path) -> str:
    """32 hex digits of a file's bytes."""
    hasher = blake3()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest(length=16)


def seed_of(*parts: Any) -> int:
    """A 53-bit seed from its parts: exact in JSON, in a double and in every sampler's 64-bit field."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake3(text).digest(length=8), "big") >> 11
