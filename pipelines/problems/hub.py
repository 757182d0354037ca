"""Rows of a data set on the Hugging Face hub, or of one that is in the cache or a directory.

Contract: ``name`` is ``org/name`` or a directory that `datasets` reads; ``config``, ``split`` and ``revision`` (a
commit, so that the same rows come tomorrow) are the hub's own words. Columns are named under ``data.columns``, and what
part of a worked solution is the answer by ``data.columns.answer_pattern``. Without a network the cache is used.

See it work: ``pytest tests/problems/test_hub.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selfimprove.errors import PreconditionError


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
