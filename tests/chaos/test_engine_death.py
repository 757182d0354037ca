"""An engine or a verifier that dies under Ray costs nothing but time.

Run: pytest tests/chaos/test_engine_death.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from selfimprove.store.runs import digests
from tests.chaos.project import SCRIPT, create, seeds, start

DYING = """
import os, signal
from pathlib import Path


def answer(messages, index, seed, policy):
    folder = Path(__file__).parent
    calls = len((folder / "calls").read_text().split()) if (folder / "calls").exists() else 0
    if calls >= 60 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(messages, index, seed, policy)
"""


@pytest.mark.slow
def test_an_engine_killed_while_sampling_is_replaced_and_the_digests_are_those_of_an_unbroken_run(
    tmp_path: Path,
) -> None:
    unbroken = tmp_path / "unbroken"
    process = start(create(unbroken), unbroken / "run", unbroken / "calls")
    process.join(120)
    assert process.exitcode in (0, 3)

    broken = tmp_path / "broken"
    config = create(broken)
    (broken / "script.py").write_text(SCRIPT.replace("def answer", "def honest") + DYING)
    config.write_text(config.read_text().replace("backend: inline", "backend: ray"))
    process = start(config, broken / "run", broken / "calls")
    process.join(240)
    assert (broken / "died").exists(), "the engine was never killed"
    assert process.exitcode in (0, 3)
    expected, found = dict(digests(unbroken / "run")), dict(digests(broken / "run"))
    assert found == expected, "Ray and inline, killed and unbroken, must agree"
    assert set(seeds(broken / "calls")) == set(seeds(unbroken / "calls"))
