"""One owner per run. Run: pytest tests/store/test_lease.py"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from selfimprove.errors import LeaseHeld
from selfimprove.store.files import RunFiles
from selfimprove.store.lease import _latest, owner_of, take, this_process


def pretend(files: RunFiles, **changes: object) -> None:
    body = {**this_process(), **changes}
    files.put_if_absent("control/lease.1.json", json.dumps(body).encode())


def test_a_living_owner_keeps_the_run_and_is_named(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    lease = take(files)
    with pytest.raises(LeaseHeld, match=f"process {os.getpid()}"):
        take(files)
    lease.release()
    assert owner_of(files) is None
    assert take(files).number == 2


def test_a_dead_owner_on_this_machine_is_succeeded_at_once(tmp_path: Path) -> None:
    code = "import sys, os\nfrom pathlib import Path\nfrom selfimprove.store.files import RunFiles\n"
    code += "from selfimprove.store.lease import take\ntake(RunFiles(Path(sys.argv[1])))\nos._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    files = RunFiles(tmp_path)
    assert owner_of(files) is not None
    began = time.monotonic()
    assert take(files, patience_s=60).number == 2
    assert time.monotonic() - began < 5


def test_a_recycled_pid_is_not_the_owner(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    pretend(files, started="1")
    assert take(files, patience_s=60).number == 2


def test_a_foreign_owner_is_succeeded_only_after_its_beat_stood_still(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    pretend(files, host="elsewhere")
    stop = threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.02):
            number += 1
            files.replace_small("control/beat.json", json.dumps([1, number]).encode())

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(LeaseHeld, match="still beating"):
            take(files, patience_s=1.0)
    finally:
        stop.set()
        thread.join()
    assert take(files, patience_s=0.3).number == 2


def test_of_many_candidates_one_wins(tmp_path: Path) -> None:
    files, won, lost = RunFiles(tmp_path), [], []

    def candidate() -> None:
        try:
            won.append(take(files))
        except LeaseHeld:
            lost.append(1)

    threads = [threading.Thread(target=candidate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and len(lost) == 7


def test_the_holder_beats(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    lease = take(files, beat_s=0.01)
    deadline = time.monotonic() + 10
    while files.read("control/beat.json") is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert json.loads(files.read("control/beat.json") or b"[0]")[0] == lease.number == _latest(files)
    lease.release()
