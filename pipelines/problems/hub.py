"""Rows of a data set on the Hugging Face hub, or of one that is in the cache or a directory.

Contract: ``name`` is ``org/name`` or a directory that `datasets` reads; ``config``, ``split`` and ``revision`` are the
hub's own words. A data set of the hub needs its revision, a commit, so that the same rows come tomorrow. Columns are
named under ``data.columns``, and what part of a worked solution is the answer by ``data.columns.answer_pattern``.
Without a network the cache is used.

See it work: ``pytest tests/problems/test_hub.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfimprove.errors import PreconditionError

_COMMIT = re.compile("[0-9a-f]{40}")


def hub(
    *,
    name: str,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The rows of ``split``, the first ``limit`` of them.

    Raises PreconditionError if it cannot be fetched (no network and not in the cache, no such data set, no access), and
    ValueError for a split or configuration that it does not have.
    """
    import datasets

    datasets.disable_progress_bars()
    if not Path(name).is_dir() and not _COMMIT.fullmatch(revision or ""):
        raise ValueError(_unpinned(name, revision))
    try:
        found = datasets.load_dataset(name, config, split=split, revision=revision)
    except ValueError as error:  # an unknown configuration or split: the message lists what there is
        raise ValueError(f"{name}: {' '.join(str(error).split())[:500]}") from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        words = " ".join(str(error).split())[:300]
        gated = "gated" in words or "401" in words or "403" in words
        fix = "ask for access on its page, then `hf auth login` or HF_TOKEN=..." if gated else (
            "check the name; with no network, fetch it elsewhere and set HF_HOME to that cache, or name a file instead"
        )  # fmt: skip
        raise PreconditionError(f"data set {name!r} cannot be loaded: {words}", hint=fix) from error
    for place, row in enumerate(found):
        if limit is not None and place >= limit:
            return
        yield dict(row)


def _unpinned(name: str, revision: str | None) -> str:
    """What to say of a data set whose rows may change, with the commit that it is at if that can be found out."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        commit = HfApi().dataset_info(name, revision=revision).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        commit = None
    where = f"revision {revision!r} is no commit" if revision else "no revision is given"
    return f"{name}: {where}, so its rows may change; " + (
        f"it is at revision: {commit}" if commit else "name a commit (40 hex digits), as its page shows it"
    )
