"""Policies on disk: from a path or a hub id to a `Policy` with a digest of its content.

Contract: a digest covers what changes the model's output (weights, configuration, tokenizer, chat template), never
the path. Digests of files are cached by (path, size, mtime, inode) in the user's cache, because hashing gigabytes at
every command would be felt. A model that is missing or unsafe is a `PreconditionError` naming the fix.

See it work: ``selfimprove plan CONFIG`` prints the digest of the model it would start from.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from selfimprove.errors import PreconditionError
from selfimprove.store.digest import digest, digest_file
from selfimprove.types import Policy

SEMANTIC = (".safetensors", ".model", ".jinja", ".txt", ".tiktoken")
SEMANTIC_JSON = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.json",
    "adapter_config.json",
    "model.safetensors.index.json",
    "weights.json",
)
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")
UNSAFE = (".bin", ".pt", ".pth", ".pkl")


def cache_dir() -> Path:
    """Where small caches of this user live."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfimprove"


def local_policy(path: Path) -> Policy:
    """The policy in a directory. PreconditionError if the directory is not a model."""
    check_model(path)
    return Policy(str(path), model_digest(path))


def is_address(source: str) -> bool:
    """Whether a policy is served by someone else: ``http://host:8000/v1#model``."""
    return source.startswith(("http://", "https://"))


def split_address(source: str) -> tuple[str, str | None]:
    """The server's address, and the name of the model there if one is given."""
    url, _, model = source.partition("#")
    return url, model or None


def policy_at(place: str) -> Policy:
    """The policy in a directory, or at a server's address, whose digest is of the address alone."""
    return Policy(place, digest(["served at", place])) if is_address(place) else local_policy(Path(place))


def check_model(path: Path) -> None:
    """Refuse a directory that cannot be loaded, naming what is missing."""
    if not path.is_dir():
        raise PreconditionError(
            f"model.source: {path} is neither a directory nor a hub id",
            hint="give a directory with config.json and *.safetensors, or a hub id such as org/name@revision",
        )
    names = [entry.name for entry in path.iterdir()]
    if "weights.json" in names:  # a scripted double has no other files
        return
    if "config.json" not in names:
        raise PreconditionError(f"{path}: no config.json", hint="model.source must be a Transformers model directory")
    if not any(name.endswith(".safetensors") for name in names):
        unsafe = [name for name in names if name.endswith(UNSAFE)]
        what = f"only {unsafe[0]}, which can run code when loaded" if unsafe else "no weights"
        raise PreconditionError(
            f"{path}: {what}", hint="convert it: model.save_pretrained(DIR, safe_serialization=True)"
        )
    if not any(name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model") for name in names):
        raise PreconditionError(
            f"{path}: no tokenizer (tokenizer.json or tokenizer_config.json)",
            hint="save it beside the weights: tokenizer.save_pretrained(DIR)",
        )


def semantic_files(path: Path) -> list[Path]:
    """The files of a model directory that change its output, sorted by name."""
    entries = (entry for entry in path.iterdir() if entry.is_file())
    return sorted(e for e in entries if e.suffix in SEMANTIC or e.name in SEMANTIC_JSON)


def model_digest(path: Path) -> str:
    """32 hex digits over the names and bytes of the files that matter."""
    known = _read_cache()
    stamps: dict[str, str] = {}
    fresh: dict[str, str] = {}
    for file in semantic_files(path):
        status = file.stat()
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ino}"
        if key not in known:
            fresh[key] = digest_file(file)
        stamps[file.name] = known.get(key) or fresh[key]
    if fresh:
        _write_cache({**known, **fresh})
    return digest(stamps)


def _read_cache() -> dict[str, str]:
    try:
        return json.loads((cache_dir() / "digests.json").read_text())
    except (OSError, ValueError):
        return {}  # a cache that is missing or torn only costs time


def _write_cache(entries: dict[str, str]) -> None:
    kept = dict(list(entries.items())[-4096:])
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=cache_dir())
        with os.fdopen(handle, "w") as file:
            json.dump(kept, file)
        os.replace(name, cache_dir() / "digests.json")
    except OSError:
        return  # no cache directory: digests are computed again next time


def is_hub_id(source: str) -> bool:
    """Whether ``source`` has the form ``org/name[@revision]`` and no such path exists."""
    return HUB_ID.fullmatch(source) is not None and not Path(source).exists()


def fetch(source: str, offline: bool | None = None) -> tuple[Path, str]:
    """Download (or find in the cache) a hub model; returns (directory, resolved revision).

    PreconditionError if it does not exist, is gated, or there is no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    name, _, revision = source.partition("@")
    patterns = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "*.tiktoken"]
    arguments: dict[str, Any] = {"revision": revision or None, "allow_patterns": patterns}
    try:
        path = Path(snapshot_download(name, **arguments))
    except GatedRepoError as error:
        raise PreconditionError(
            f"model.source: {name} is gated", hint="accept its terms on its page and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise PreconditionError(
            f"model.source: there is no model {name} (or it is private)", hint="check the id, or set HF_TOKEN"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise PreconditionError(
            f"model.source: {source} is not in the local cache and cannot be fetched ({type(error).__name__})",
            hint="connect, or download it elsewhere and give its directory",
        ) from error
    return path, path.name
