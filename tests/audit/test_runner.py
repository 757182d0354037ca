"""Each way of misbehaving is caught, and only it. Run: pytest tests/audit/test_runner.py"""

# ruff: noqa: E501 - cases stand whole on their lines

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from tests.audit.support import HONEST, audit, case, plain_cases

LISTS = ("wrong_accept", "wrong_reject", "errors", "flaky", "late", "side_effects", "traces")


def faults(found: dict) -> dict[str, list[str]]:
    return {name: found[name] for name in LISTS if found[name]}


def test_an_honest_verifier_is_good(tmp_path: Path) -> None:
    found = audit(tmp_path, HONEST, plain_cases())
    assert faults(found) == {}
    assert found["good"]
    assert (found["cases"], found["verdicts"], found["error_rate"]) == (4, 8, 0.0)
    assert found["by_kind"] == {"math": {"cases": 4, "wrong_accept": 0, "wrong_reject": 0, "errors": 0}}
    assert found["by_category"]["math/cheat"]["cases"] == 2
    assert 0 < found["latency"]["p50"] <= found["latency"]["p99"] <= found["latency"]["max"] < 30


def test_one_that_accepts_everything_is_caught(tmp_path: Path) -> None:
    found = audit(tmp_path, "def judge(problem, sample): return True", plain_cases())
    assert faults(found) == {"wrong_accept": ["wrong-0", "wrong-1"]}
    assert not found["good"]
    assert set(found["reasons"]) == {"wrong-0", "wrong-1"}


def test_one_that_refuses_everything_is_caught(tmp_path: Path) -> None:
    found = audit(tmp_path, "def judge(problem, sample): return False", plain_cases())
    assert faults(found) == {"wrong_reject": ["right-0", "right-1"]}


def test_an_error_is_neither_yes_nor_no(tmp_path: Path) -> None:
    body = (
        HONEST + "\ninner = judge\ndef judge(problem, sample):\n    if problem.id.endswith('1'): raise KeyError('x')\n"
    )
    found = audit(tmp_path, body + "    return inner(problem, sample)", plain_cases(), kinds=("math",))
    assert faults(found) == {"errors": ["right-1", "wrong-1"]}
    assert found["error_rate"] == 0.5
    assert found["reasons"]["right-1"].startswith("error (KeyError: 'x'")


def test_a_hanging_or_dying_verifier_costs_its_own_case_only(tmp_path: Path) -> None:
    body = HONEST + "\ninner = judge\ndef judge(problem, sample):\n    if problem.id == 'right-0': time.sleep(100)\n"
    body += "    if problem.id == 'wrong-0': os._exit(3)\n    return inner(problem, sample)"
    found = audit(tmp_path, body, plain_cases(), timeout_s=1.0, repeat=1)
    assert faults(found) == {"errors": ["right-0", "wrong-0"]}
    assert "timeout" in found["reasons"]["right-0"]
    assert "crash" in found["reasons"]["wrong-0"]


def test_verdicts_that_differ_are_flaky(tmp_path: Path) -> None:
    body = f"def judge(problem, sample):\n    path = {str(tmp_path)!r} + '/seen-' + problem.id\n"
    body += "    seen = os.path.exists(path); open(path, 'w').close()\n    return (problem.id[0] == 'r') != (seen and problem.id == 'right-0')"
    found = audit(tmp_path, body, plain_cases())
    assert faults(found) == {"wrong_reject": ["right-0"], "flaky": ["right-0"]}
    assert audit(tmp_path, HONEST, plain_cases(), repeat=3)["verdicts"] == 12


def test_a_verdict_after_the_limit_of_its_case_is_late(tmp_path: Path) -> None:
    body = "def judge(problem, sample):\n    time.sleep(1.5 if problem.id == 'wrong-2' else 0.0)\n    return problem.id[0] == 'r'"
    cases = [*plain_cases(), case("wrong-2", "9", False, time_limit_s=0.3), case("wrong-3", "9", False, time_limit_s=1)]
    assert faults(audit(tmp_path, body, cases, repeat=1)) == {"late": ["wrong-2"]}


def test_slow_cases_are_no_part_of_the_latency(tmp_path: Path) -> None:
    body = "def judge(problem, sample):\n    time.sleep(0.5 if problem.id == 'slow' else 0.0)\n    return problem.id[0] == 'r'"
    found = audit(tmp_path, body, [*plain_cases(), case("slow", "9", False, slow=True)], repeat=1)
    assert found["good"]
    assert found["latency"]["max"] < 0.5 <= found["latency"]["slow_max"]


def test_what_a_case_must_not_write_is_looked_for_and_old_proof_removed(tmp_path: Path) -> None:
    one, two = (Path(tempfile.gettempdir()) / f"selfimprove-test-{uuid.uuid4().hex}" for _ in range(2))
    two.write_text("left from an earlier audit")
    cases = [
        *plain_cases(),
        case("evil", f"write {one}", False, side_effect=str(one)),
        case("tame", "7", False, side_effect=str(two)),
    ]
    body = "def judge(problem, sample):\n    words = sample.completion.split()\n"
    body += "    if words[0] == 'write': open(words[1], 'w').close()\n    return words == ['42']"
    try:
        assert faults(audit(tmp_path, body, cases)) == {"side_effects": ["evil"]}
        assert not two.exists()
    finally:
        one.unlink(missing_ok=True)


def test_a_path_outside_the_temporary_folder_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(inner))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        audit(tmp_path, HONEST, [*plain_cases(), case("evil", "7", False, side_effect=str(precious))])
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("accepts", [True, False])
def test_a_trace_for_the_next_check_is_found(tmp_path: Path, accepts: bool) -> None:
    body = "SPOILT = []\ndef judge(problem, sample):\n    if sample.completion == 'spoil': SPOILT.append(1); return False\n"
    body += f"    return {accepts} if SPOILT else sample.completion == '42'"
    cases = [*plain_cases(), case("spoiler", "spoil", False, persist=True), case("tame", "7", False)]
    found = audit(tmp_path, body, cases, repeat=1)
    assert faults(found) == {"traces": ["spoiler"]}


def test_a_tame_persistent_case_leaves_no_trace(tmp_path: Path) -> None:
    found = audit(tmp_path, HONEST, [*plain_cases(), case("spoiler", "spoil", False, persist=True)])
    assert faults(found) == {}
    assert found["cases"] == 5
