"""Digests and seeds are stable and refuse what has no stable form. Run: pytest tests/store/test_digest.py"""

from __future__ import annotations

import pytest

from selfimprove.store.digest import canonical, digest, seed_of
from selfimprove.types import Message


def test_equal_values_have_equal_digests_whatever_the_order() -> None:
    assert digest({"a": 1, "b": [Message("user", "x")]}) == digest({"b": [Message("user", "x")], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_values_without_a_stable_form_are_refused() -> None:
    with pytest.raises(TypeError, match="no stable digest"):
        canonical({"f": test_values_without_a_stable_form_are_refused})


def test_seeds_differ_by_every_part_and_are_pinned() -> None:
    seeds = {seed_of(0, "rounds/001/attempt", "p", index) for index in range(1000)}
    assert len(seeds) == 1000 and max(seeds) < 2**53
    assert seed_of(0, "rounds/001/attempt", "p", 0) != seed_of(0, "rounds/002/attempt", "p", 0)
    assert seed_of(1, "a", "bc") != seed_of(1, "ab", "c")
    assert seed_of(0, "rounds/001/attempt", "p", 0) == 5730051451515394  # changing this breaks every resumable run
