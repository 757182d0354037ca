"""Runs that meet a full disk, damaged files, changed inputs, signals: stopped by name, nothing lost, the same command
goes on. Run: pytest tests/e2e/test_bad_runs.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.misuse import (
    DONE,
    PROBLEMS,
    calls,
    command,
    create,
    finished,
    kept,
    refused,
    results,
    rows,
    run,
    said,
    start,
)

PART = "SELFIMPROVE_FAILPOINT"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nothing happened to; never changed."""
    folder = tmp_path_factory.mktemp("unbroken")
    create(folder)
    finished(folder)
    return folder


@pytest.fixture
def done(unbroken: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(unbroken, tmp_path / "done")


def begun(folder: Path, point: str = "part.linked:3:kill") -> dict[str, bytes]:
    """A run killed on its way; returns what it had committed."""
    create(folder)
    assert run(folder, **{PART: point}).code == -9
    before = kept(folder / "runs/c")
    assert before
    return before


# -- changed between attempts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sampling.temperature=0.7", "sampling.temperature: 1.0 -> 0.7"),
        ("recipe.temperature=0.3", "recipe.temperature: 0.7 -> 0.3"),
        ("recipe.samples=3", "recipe.samples: 2 -> 3"),
        ("seed=1", "seed: 0 -> 1"),
        ("data.gate=5", "data.gate: 6 -> 5"),
    ],
)
def test_a_changed_configuration_is_refused_by_name(done: Path, word: str, expected: str) -> None:
    before = kept(done / "runs/c")
    refused(run(done, word, "rounds=2"), 2, "the configuration changed", expected, "start another run with --run-dir")
    assert expected in command(done, "plan", "c.yaml", word).out
    assert kept(done / "runs/c") == before
    assert run(done).code in DONE


def test_changed_problems_are_refused_and_the_right_ones_continue(tmp_path: Path, unbroken: Path) -> None:
    before = begun(tmp_path)
    (tmp_path / "problems.jsonl").write_text(rows(problems=PROBLEMS[1:]))
    refused(run(tmp_path), 2, "setup/problems", "data.problems: ", "undo the change, or start another run")
    assert kept(tmp_path / "runs/c") == before
    (tmp_path / "problems.jsonl").write_text(rows(problems=PROBLEMS[::-1]))  # their order is no change
    finished(tmp_path)
    assert before.items() <= kept(tmp_path / "runs/c").items()


def test_a_finished_run_named_by_its_directory_is_a_no_op_and_can_grow(done: Path, unbroken: Path) -> None:
    before = kept(done / "runs/c")
    again = command(done, "run", "runs/c")
    assert again.code in DONE and again.out.startswith("nothing to do: ")
    assert kept(done / "runs/c") == before and calls(done) == calls(unbroken)
    assert command(done, "run", "runs/c", "rounds=2", "--progress", "none").code in DONE
    assert before.items() <= kept(done / "runs/c").items()


# -- references ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["rounds/9/attempt", "nonsense", "7", "1/attemp"])
def test_an_unknown_reference_names_the_steps_there_are(done: Path, ref: str) -> None:
    found = command(done, "show", "runs/c", ref)
    refused(found, 2, f"runs/c: no sample, problem or step is called {ref!r}", "rounds/001/attempt")
    known = [command(done, "show", "runs/c", name).out for name in ("1/attempt", "rounds/1/attempt")]
    assert known[0] == known[1] != ""


# -- places ----------------------------------------------------------------------------------------------------------


def test_a_run_directory_that_cannot_be_one(tmp_path: Path) -> None:
    create(tmp_path)
    for place in ("c.yaml", "c.yaml/below", "x" * 300):
        refused(run(tmp_path, "--run-dir", place), 5, place, "cannot be used", "choose another place with --run-dir")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"needs to mount a small file system: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_run_directory_that_cannot_be_written(tmp_path: Path, disk: Path) -> None:
    create(tmp_path)
    remount(disk, "ro")
    refused(run(tmp_path, "--run-dir", "disk/run"), 5, "disk/run", "Read-only file system", "--run-dir")
    remount(disk, "rw")
    finished(tmp_path, "--run-dir", "disk/run")


@pytest.mark.parametrize(
    "free_kb",
    [0, 16, 56, 128, 216, *(pytest.param(k, marks=pytest.mark.slow) for k in (8, 40, 80, 104, 136, 168, 232))],
)
def test_a_full_disk(tmp_path: Path, disk: Path, unbroken: Path, free_kb: int) -> None:
    """Full at the lease, the resolved configuration, the built model, samples, verdicts, markers, rows, the end."""
    create(tmp_path)
    (disk / "ballast").write_bytes(bytes((1024 - free_kb) * 1024))
    refused(run(tmp_path, "--run-dir", "disk/run"), 6, "disk/run/", "no space left", "run the same command again")
    before = kept(disk / "run")
    assert bool(before) == (free_kb > 8)
    remount(disk, "size=4m")
    finished(tmp_path, "--run-dir", "disk/run")
    assert before.items() <= kept(disk / "run").items()
    assert results(disk / "run") == results(unbroken / "runs/c")


# -- damage ----------------------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "pattern",
    [
        "setup/model/a-*/model/weights.json",
        "rounds/000/gate/samples/a-*/*.parquet",
        "rounds/001/gate/samples/a-*/*.parquet",
        "rounds/001/gate/verdicts-*/a-*/*.parquet",
        "rounds/001/gate/samples/parts/000000.json",
        "rounds/001/COMMITTED.json",
        "setup/base/COMMITTED.json",
        "setup/problems/COMMITTED.json",
        "run.json",
    ],
)
def test_a_flipped_bit_is_found_and_named(done: Path, pattern: str) -> None:
    damaged = next((done / "runs/c").glob(pattern))
    whole = damaged.read_bytes()
    flip(damaged)
    refused(run(done, "rounds=2"), 4, str(damaged), "restore")
    damaged.write_bytes(whole)
    before = kept(done / "runs/c")
    finished(done, "rounds=2")
    assert before.items() <= kept(done / "runs/c").items()


def test_weights_of_a_round_are_checked_before_they_are_used_again(tmp_path: Path) -> None:
    create(tmp_path, data={"gate": 0})  # without a gate every round goes on from the last
    finished(tmp_path)
    weights = next((tmp_path / "runs/c").glob("rounds/001/train/policy/a-*/model/*/*"))
    flip(weights)
    refused(run(tmp_path, "rounds=2"), 4, str(weights), "does not match its digest", "rounds/001/COMMITTED.json")


def test_what_the_hint_says_makes_a_damaged_step_again(done: Path) -> None:
    expected = results(done / "runs/c")
    damaged = next((done / "runs/c").glob("rounds/001/gate/samples/a-*/*.parquet"))
    flip(damaged)
    hint = run(done, "rounds=2").err.partition("or delete ")[2].partition(": the same command")[0]
    for place in hint.split(" and "):
        path = Path(place)
        assert path.is_relative_to(done / "runs/c") and path.exists()
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    finished(done, "rounds=2")
    assert expected.items() <= results(done / "runs/c").items()


def test_an_edited_marker_and_a_missing_part(done: Path) -> None:
    marker = done / "runs/c/rounds/001/COMMITTED.json"
    whole = marker.read_text()
    body = json.loads(whole)
    marker.write_text(json.dumps({**body, "counts": {**body["counts"], "passed": 24}}))
    refused(run(done, "rounds=2"), 4, str(marker), "does not match its own digest")
    refused(command(done, "status", "runs/c"), 4, "rounds/001/COMMITTED.json", "own digest")
    marker.write_text(whole)
    part = next((done / "runs/c/rounds/001/gate/samples/parts").iterdir())
    whole = part.read_text()
    part.unlink()
    refused(run(done, "rounds=2"), 4, "rounds/001/gate/samples: markers of parts are missing")
    part.write_text(whole)
    finished(done, "rounds=2")


def test_what_may_be_lost_is_made_again(done: Path, unbroken: Path) -> None:
    before = kept(done / "runs/c")
    for name in ("FINISHED.json", "status.json"):
        flip(done / "runs/c" / name)
    found = command(done, "status", "runs/c")
    assert found.code == 0 and "state: stopped" in found.out
    finished(done)
    assert kept(done / "runs/c") == before and calls(done) == calls(unbroken)
    assert "state: finished" in command(done, "status", "runs/c").out


# -- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_at_a_safe_point_and_the_same_command_goes_on(
    tmp_path: Path, unbroken: Path, signal: str
) -> None:
    create(tmp_path)
    words = ("run", "c.yaml", "--progress", "none")
    process = start(tmp_path, *words, ANSWER_S="0.05")
    deadline = time.monotonic() + 60
    while calls(tmp_path) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, {"SIGTERM": 15, "SIGINT": 2}[signal])
    found = said(tmp_path, process)
    refused(found, 75, f"note: {signal}: finishing what is begun", f"({signal})", "the same command continues")
    before = kept(tmp_path / "runs/c")
    assert before and "state: stopped" in command(tmp_path, "status", "runs/c").out
    finished(tmp_path)
    assert before.items() <= kept(tmp_path / "runs/c").items()
    assert results(tmp_path / "runs/c") == results(unbroken / "runs/c")
    assert calls(tmp_path) == calls(unbroken), "no sample was drawn twice"


def test_a_second_run_of_one_directory_is_told_who_owns_it(tmp_path: Path) -> None:
    create(tmp_path)
    first = start(tmp_path, "run", "c.yaml", "--progress", "none", ANSWER_S="0.05")
    deadline = time.monotonic() + 60
    while not calls(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    second = tmp_path / "second"
    second.mkdir()
    found = command(second, "run", "../c.yaml", "--run-dir", "../runs/c", "--json").envelope
    assert (found["exit_code"], found["error"]["code"]) == (76, "lease_held")
    assert f"process {first.pid}" in found["error"]["message"] and "selfimprove status" in found["error"]["hint"]
    assert said(tmp_path, first).code in DONE


def test_integrity_as_json(done: Path) -> None:
    flip(done / "runs/c/rounds/001/COMMITTED.json")
    for words in (("run", "c.yaml", "rounds=2"), ("status", "runs/c"), ("plan", "c.yaml", "rounds=2")):
        body = command(done, *words, "--json").envelope
        assert (body["exit_code"], body["error"]["code"]) == (4, "integrity")
        assert "rounds/001/COMMITTED.json" in body["error"]["message"] and "restore" in body["error"]["hint"]
