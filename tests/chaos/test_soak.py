"""Thousands of checks leave memory, open files, processes and temporary files as they were.

Run: pytest tests/chaos/test_soak.py (``python -m benchmarks soak`` does ten times as many)
"""

from __future__ import annotations

import sys

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_checks_leave_nothing_behind() -> None:
    from benchmarks.soak import soak

    first, last, wrong = soak(10_000)
    assert wrong == 0
    assert last.memory_mb - first.memory_mb < 12
    assert last.files - first.files < 12 and last.processes - first.processes < 4
