"""What verifiers leave on the machine is found, and removed where that is safe. Run: pytest tests/audit/test_leaks.py"""

# ruff: noqa: E501 - cases stand whole on their lines

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from selfimprove.audit.leaks import SLACK, Watch
from tests.audit.support import HONEST, audit, plain_cases
from tests.verify.support import children, gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
INNER = HONEST + "\ninner = judge\n"
DAEMON = """
def judge(problem, sample):
    if problem.id == 'right-0':
        subprocess.Popen(['sleep', '987'], start_new_session=True)
    return inner(problem, sample)
"""
FILES = """
def judge(problem, sample):
    tempfile.mkstemp(prefix='forgotten')
    return inner(problem, sample)
"""
THREADS = """
def judge(problem, sample):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return inner(problem, sample)
"""
DESCRIPTORS = (
    "KEPT = []\ndef judge(problem, sample):\n    KEPT.append(open('/dev/null'))\n    return inner(problem, sample)"
)


def test_a_process_that_left_its_session_is_found_and_ended(tmp_path: Path) -> None:
    found = audit(tmp_path, INNER + DAEMON, plain_cases(), repeat=1)
    (left,) = found["left_behind"]["processes"]
    assert left.endswith("sleep 987")
    assert gone(int(left.split()[0]))
    assert not found["good"]
    assert found["wrong_accept"] == found["wrong_reject"] == found["errors"] == []


def test_forgotten_files_are_found_and_removed(tmp_path: Path) -> None:
    found = audit(tmp_path, INNER + FILES, plain_cases(), repeat=1)
    assert len(found["left_behind"]["files"]) == 4
    assert all(name.startswith("forgotten") for name in found["left_behind"]["files"])
    assert not found["good"]


@pytest.mark.parametrize(("body", "sort"), [(THREADS, "threads"), (DESCRIPTORS, "descriptors")])
def test_what_grows_in_a_worker_is_found(tmp_path: Path, body: str, sort: str) -> None:
    found = audit(tmp_path, INNER + body, plain_cases(10), workers=1)
    assert found["left_behind"]["growth"] == {sort: 20}
    assert not found["good"]


def test_a_tidy_verifier_leaves_nothing(tmp_path: Path) -> None:
    before, environ = children(os.getpid()), dict(os.environ)
    left = audit(tmp_path, HONEST, plain_cases(SLACK))["left_behind"]
    assert not any(value for name, value in left.items() if name != "perhaps")
    assert children(os.getpid()) == before
    assert dict(os.environ) == environ


def test_threads_and_descriptors_of_this_process_count() -> None:
    until = threading.Event()
    thread = threading.Thread(target=until.wait, name="forgotten")
    with Watch() as watch:
        thread.start()
        descriptor = os.open("/dev/zero", os.O_RDONLY)
    until.set()
    thread.join()
    os.close(descriptor)
    assert watch.left.threads == ("forgotten",)
    assert watch.left.descriptors == ("/dev/zero",)
    assert watch.left.any


def test_another_programs_files_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Watch() as watch:
        (tmp_path / "other").touch()
    assert str(tmp_path / "other") in watch.left.perhaps
    assert not watch.left.any
