"""Steps are published once, refuse other inputs, and notice damage. Run: pytest tests/store/test_steps.py"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from selfimprove.errors import DiskFullError, FingerprintError, IntegrityError, LeaseHeld
from selfimprove.store.files import RunFiles
from selfimprove.store.lease import take
from selfimprove.store.steps import COMMITTED, Step, open_step, read_marker


def write(step: Step, name: str = "rows.bin", data: bytes = b"rows") -> Path:
    path = step.workdir() / name
    path.write_bytes(data)
    return path


def test_a_published_step_is_found_again_with_its_outputs(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    step = open_step(files, "rounds/001/attempt", {"temperature": "1.0"})
    step.publish([write(step)], digest="d", counts={"rows": 4}, data={"x": [1]})
    again = open_step(files, "rounds/001/attempt", {"temperature": "1.0"})
    assert again.marker is not None
    assert again.marker.counts == {"rows": 4} and again.marker.data == {"x": [1]}
    assert again.path(again.marker.outputs[0]).read_bytes() == b"rows"


def test_other_inputs_are_refused_by_name(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    step = open_step(files, "s", {"sampling.temperature": "1.0", "seed": "0"})
    step.publish(digest="d", part=0)
    with pytest.raises(FingerprintError, match=r"sampling\.temperature: 1\.0 -> 0\.7"):
        open_step(files, "s", {"sampling.temperature": "0.7", "seed": "0"})


def test_the_first_of_two_writers_wins_and_both_see_its_marker(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    first, second = open_step(files, "s", {}), open_step(files, "s", {})
    first.publish([write(first, data=b"one")], digest="one")
    assert second.publish([write(second, data=b"two")], digest="two").digest == "one"
    assert open_step(files, "s", {}).marker == first.marker


def test_racing_threads_commit_each_part_once(tmp_path: Path) -> None:
    files, digests = RunFiles(tmp_path), []

    def race(number: int) -> None:
        step = open_step(files, "s", {})
        for part in range(20):
            digests.append((part, step.publish(digest=f"{number}", part=part).digest))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 80
    assert len(set(digests)) == 20, "two writers saw different winners of one part"


def test_a_damaged_output_is_noticed_and_named(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    step = open_step(files, "s", {})
    path = write(step)
    marker = step.publish([path], digest="d")
    os.utime(path, ns=(1, 1))  # another time: the cache of verified files must not vouch for it
    path.write_bytes(b"rowz")
    with pytest.raises(IntegrityError, match=r"rows\.bin.*does not match"):
        step.path(marker.outputs[0])
    path.write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"committed with 4 bytes, now 0"):
        step.path(marker.outputs[0])
    path.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        step.path(marker.outputs[0])


def test_an_edited_marker_is_noticed(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    open_step(files, "s", {}).publish(digest="d", counts={"rows": 1})
    path = tmp_path / "s" / COMMITTED
    path.write_text(path.read_text().replace('"rows": 1', '"rows": 2'))
    with pytest.raises(IntegrityError, match="own digest"):
        read_marker(files, f"s/{COMMITTED}")
    path.write_text("{torn")
    with pytest.raises(IntegrityError, match="damaged"):
        read_marker(files, f"s/{COMMITTED}")


def test_leftovers_of_a_killed_attempt_are_swept_but_committed_files_stay(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    lease = take(files)
    step = open_step(files, "s", {}, lease)
    kept = write(step, "kept.bin")
    step.publish([kept], digest="d", part=0)
    left = write(step, "left.bin")
    killed = open_step(files, "s", {}, None)
    write(killed, "other.bin")
    open_step(files, "s", {}, lease)
    assert kept.exists() and not left.exists()
    assert sorted(files.list("s")) == [kept.parent.name, "parts"]


def test_a_lost_lease_stops_a_commit(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    lease = take(files)
    step = open_step(files, "s", {}, lease)
    lease.release()
    take(files)
    with pytest.raises(LeaseHeld, match="another process took this run over"):
        step.publish(digest="d")
    assert read_marker(files, f"s/{COMMITTED}") is None


@pytest.mark.parametrize("action, error", [("enospc", DiskFullError), ("eio", OSError)])
def test_a_failing_disk_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, error: type[Exception]
) -> None:
    from selfimprove.store import failpoints

    files = RunFiles(tmp_path)
    step = open_step(files, "s", {})
    failpoints._hits.clear()
    monkeypatch.setenv(failpoints.VARIABLE, f"marker.written:1:{action}")
    with pytest.raises(error):
        step.publish([write(step)], digest="d")
    assert read_marker(files, f"s/{COMMITTED}") is None
    assert not [path for path in (tmp_path / "s").iterdir() if path.name.endswith(".tmp")]
    monkeypatch.delenv(failpoints.VARIABLE)
    assert step.publish([write(step)], digest="d").digest == "d"


def test_paths_stay_inside_the_run(tmp_path: Path) -> None:
    for key in ("../x", "/etc/passwd", "a/../../b"):
        with pytest.raises(ValueError, match="leaves the run directory"):
            RunFiles(tmp_path).local(key)
