"""Killed anywhere, nothing lost: after SIGKILL the same command ends with the same digests, and no committed sample
is drawn again. Run: pytest tests/chaos/test_kill.py
"""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from selfimprove.store.failpoints import NAMES
from selfimprove.store.files import RunFiles
from selfimprove.store.groups import read_samples
from selfimprove.store.runs import digests
from selfimprove.store.steps import Step, read_parts
from tests.chaos.project import create, seeds, start

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux process handling")
DONE = (0, 3)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float]:
    """The digests of a run that nobody killed, and the seconds it took."""
    folder = tmp_path_factory.mktemp("unbroken")
    began = time.monotonic()
    process = start(create(folder), folder / "run", folder / "calls")
    process.join(60)
    assert process.exitcode in DONE
    return dict(digests(folder / "run")), time.monotonic() - began


def committed_seeds(run: Path) -> set[int]:
    """The seeds of all samples in committed parts."""
    files, found = RunFiles(run), set()
    for key in sorted(
        path.parent.parent.relative_to(run).as_posix() for path in run.glob("*/*/*/samples/parts/*.json")
    ):
        step = Step(files, f"{key}", {}, None)
        for marker in read_parts(files, key).values():
            found.update(sample.seed for sample in read_samples(step, marker))
    return found


def finish(folder: Path, expected: dict[str, str]) -> None:
    """Run the same command to its end; nothing committed may be drawn again or change."""
    before, drawn = committed_seeds(folder / "run"), len(seeds(folder / "calls"))
    process = start(folder / "config.yaml", folder / "run", folder / "calls")
    process.join(60)
    assert process.exitcode in DONE
    again = set(seeds(folder / "calls")[drawn:]) & before
    assert not again, f"{len(again)} committed samples were drawn twice"
    assert dict(digests(folder / "run")) == expected
    everything = seeds(folder / "calls")
    assert len(set(everything)) == len(committed_seeds(folder / "run"))


@pytest.mark.parametrize("hit", [1, *(pytest.param(hit, marks=pytest.mark.slow) for hit in (2, 5, 11))])
@pytest.mark.parametrize("name", NAMES)
def test_kill_at_a_fail_point(tmp_path: Path, unbroken: tuple[dict[str, str], float], name: str, hit: int) -> None:
    config = create(tmp_path)
    process = start(config, tmp_path / "run", tmp_path / "calls", SELFIMPROVE_FAILPOINT=f"{name}:{hit}:kill")
    process.join(60)
    if hit == 1:
        assert process.exitcode == -signal.SIGKILL, f"fail point {name} was never passed"
    assert process.exitcode in (-signal.SIGKILL, *DONE)
    finish(tmp_path, unbroken[0])


@pytest.mark.parametrize("moment", [*range(5), *(pytest.param(k, marks=pytest.mark.slow) for k in range(5, 50))])
def test_kill_at_a_random_moment(tmp_path: Path, unbroken: tuple[dict[str, str], float], moment: int) -> None:
    expected, whole = unbroken
    dice = random.Random(moment)
    config = create(tmp_path)
    for _ in range(dice.choice([1, 1, 2, 3])):
        process = start(config, tmp_path / "run", tmp_path / "calls")
        time.sleep(dice.uniform(0.02, whole))
        process.kill()
        process.join(60)
    finish(tmp_path, expected)


def test_two_runs_on_one_directory_one_works_and_the_other_exits_76(
    tmp_path: Path, unbroken: tuple[dict[str, str], float]
) -> None:
    config = create(tmp_path)
    holder = start(config, tmp_path / "run", tmp_path / "calls", SELFIMPROVE_FAILPOINT="round.before:1:sleep")
    deadline = time.monotonic() + 30
    while not (tmp_path / "run/rounds/000/COMMITTED.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    second = start(config, tmp_path / "run", tmp_path / "calls")
    second.join(60)
    assert second.exitcode == 76
    holder.kill()
    holder.join(60)
    finish(tmp_path, unbroken[0])


def test_a_signal_stops_at_a_safe_point_and_the_same_command_goes_on(
    tmp_path: Path, unbroken: tuple[dict[str, str], float]
) -> None:
    expected, whole = unbroken
    config = create(tmp_path)
    codes = set()
    for k in range(6):
        process = start(config, tmp_path / "run", tmp_path / "calls")
        time.sleep(whole * (0.25 + 0.1 * k))
        process.terminate()
        process.join(60)
        codes.add(process.exitcode)
    assert codes <= {75, -signal.SIGTERM, *DONE} and 75 in codes, codes
    finish(tmp_path, expected)
