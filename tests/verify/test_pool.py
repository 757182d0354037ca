"""A verifier may do anything to its process; the pool answers for every sample all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selfimprove.errors import ConfigError
from selfimprove.types import Message, Problem, Turn
from selfimprove.verify import VerifierPool
from tests.verify.support import MISBEHAVING, children, collect, gone, judge, problem, sample, wait_until_gone, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes are tested on Linux")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("verifiers"), MISBEHAVING)


@pytest.fixture(scope="module")
def pool(spec: str) -> Iterator[VerifierPool]:
    with VerifierPool({"name": spec, "timeout_s": 20.0, "retries": 0, "memory_mb": 1024}, workers=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def hasty(spec: str) -> Iterator[VerifierPool]:
    with VerifierPool({"name": spec, "timeout_s": 0.5, "retries": 1}, workers=1) as pool:
        yield pool


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit_process", "crash"),
        ("segfault", "crash"),
        ("abort", "crash"),
        ("killed", "crash"),
        ("deep_recursion", "crash"),
        ("raises", "KeyError"),
        ("unprintable", "Unprintable"),
        ("system_exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("reads_stdin", "EOFError"),
        ("recursion", "RecursionError"),
        ("memory", "MemoryError"),
        ("memory_kept", "MemoryError"),
        ("nan", "not-finite"),
        ("infinite", "not-finite"),
        ("number", "no-threshold"),
        ("nothing", "bad-return"),
        ("text", "bad-return"),
        ("unpicklable", "bad-return"),
        ("no_such_outcome", "bad-return"),
        ("closes_descriptors", "crash"),
        ("writes_everywhere", "crash"),
    ],
)
def test_misbehaviour_costs_one_error_verdict(pool: VerifierPool, how: str, error: str) -> None:
    verdicts = judge(pool, ["right", "wrong", how, "wrong", "right"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "fail", "error", "fail", "pass"]
    assert verdicts[2].error == error
    assert verdicts[2].reason or how == "interrupt"


@pytest.mark.parametrize("how", ["hang", "hang_in_c", "hold_the_gil"])
def test_a_sample_that_takes_too_long_is_killed(hasty: VerifierPool, how: str) -> None:
    verdicts = judge(hasty, ["right", how, "wrong", how, "right"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "error", "fail", "error", "pass"]
    assert verdicts[1].error == verdicts[3].error == "timeout"


@pytest.mark.parametrize("how", ["prints", "prints_much", "leaves_thread", "forks", "forks_and_returns", "fake_scalar"])
def test_what_a_verifier_does_beside_judging_changes_no_verdict(pool: VerifierPool, how: str) -> None:
    verdicts = judge(pool, ["wrong", how, "right", how, "wrong"])
    assert [verdict.outcome for verdict in verdicts] == ["fail", "pass", "pass", "pass", "fail"]


def test_a_fork_that_returns_from_the_verifier_judges_nothing(spec: str, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    with VerifierPool({"name": spec}, workers=1) as pool:
        assert all(verdict.passed for verdict in judge(pool, ["forks_and_returns", f"mark {file}", "nap", "nap"]))
    assert file.read_text() == "x"


def test_memory_that_a_sample_keeps_is_not_taken_from_the_next(pool: VerifierPool) -> None:
    verdicts = judge(pool, ["modest", "memory_kept", "modest"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "error", "pass"]


def test_garbage_on_the_channel_is_blamed_on_its_writer(pool: VerifierPool) -> None:
    verdicts = judge(pool, ["nap", "writes_everywhere", "nap", "right", "nap"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "error", "pass", "pass", "pass"]


def test_a_chunk_larger_than_any_buffer_is_judged_without_spinning(pool: VerifierPool) -> None:
    pool.check()
    used = time.process_time()
    assert all(verdict.passed for verdict in judge(pool, ["nap " + str(index) * 10**6 for index in range(4)]))
    assert time.process_time() - used < 0.3


def test_a_dead_workers_last_words_are_in_the_reason(pool: VerifierPool) -> None:
    (verdict,) = judge(pool, ["segfault"])
    assert "SIGSEGV" in verdict.reason
    (verdict,) = judge(pool, ["raises"])
    assert "no such thing" in verdict.reason and "mine.py:" in verdict.reason


def test_texts_come_back_bounded_and_storable(pool: VerifierPool) -> None:
    huge, odd = judge(pool, ["huge_verdict", "odd_text"])
    assert huge.passed and len(huge.reason) <= 500 and huge.answer is not None and len(huge.answer) <= 1000
    assert (odd.answer, odd.reason) == ("a\ufffdb\ufffdc", "d\ufffde\ufffdf")


def test_completions_that_are_no_unicode_reach_the_verifier(tmp_path: Path) -> None:
    spec = write(tmp_path, "def judge(problem, sample):\n    return sample.completion == 'a\\ud800b\\x00c'\n")
    with VerifierPool({"name": spec}, workers=1) as pool:
        verdicts = judge(pool, ["a\ud800b\x00c", "abc"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "fail"]


def test_the_verifier_receives_the_real_problem_and_sample(tmp_path: Path) -> None:
    given = Problem("p-9", (Message("system", "s"), Message("user", "u?")), 4.5, ["t"], "math", {"row": {"a": [1]}})
    other = sample("text", prefix="So ")
    turns = (Turn("assistant", 0, 2, True),)
    full = replace(other, turns=turns, logprob=-1.5, parent="r/s/p-1/7")
    spec = write(
        tmp_path,
        "from selfimprove.types import Verdict\n"
        "def judge(problem, sample, *, wanted):\n"
        "    seen = repr((problem, sample))\n"
        "    return Verdict('pass', reason=seen, answer=str(seen == wanted))\n",
    )
    with VerifierPool({"name": spec, "args": {"wanted": repr((given, full))}}, workers=1) as pool:
        pool.submit(5, [(given, full)])
        (verdict,) = collect(pool)[5]
    assert verdict.answer == "True", verdict.reason


def test_order_is_kept_over_many_chunks_and_workers(spec: str) -> None:
    wanted = {chunk: ["right" if (chunk * index) % 3 else "wrong" for index in range(64)] for chunk in range(60)}
    known = problem()
    with VerifierPool({"name": spec}, workers=3) as pool:
        for chunk, texts in wanted.items():
            pool.submit(chunk, [(known, sample(text, index=index)) for index, text in enumerate(texts)])
        assert pool.pending == 60
        results = collect(pool)
        assert pool.pending == 0 and pool.poll(0) == []
    for chunk, texts in wanted.items():
        assert [verdict.passed for verdict in results[chunk]] == [text == "right" for text in texts]


def test_innocent_samples_of_all_chunks_survive_many_deaths(spec: str) -> None:
    cycle = ["right", "exit_process", "wrong", "raises", "memory_kept", "right", "closes_descriptors", "wrong"]
    wanted = ["pass", "error", "fail", "error", "error", "pass", "error", "fail"]
    known = problem()
    with VerifierPool({"name": spec, "retries": 1, "memory_mb": 512}, workers=2) as pool:
        for chunk in range(3):
            pool.submit(chunk, [(known, sample(text)) for text in cycle])
        results = collect(pool)
    for chunk in range(3):
        assert [verdict.outcome for verdict in results[chunk]] == wanted


def test_truncated_samples_fail_without_being_judged(spec: str) -> None:
    with VerifierPool({"name": spec, "retries": 0}, workers=1) as pool:
        known = problem()
        pool.submit(1, [(known, sample("right", finish="length")), (known, sample("exit_process", finish="abort"))])
        verdicts = collect(pool)[1]
        assert [(verdict.outcome, verdict.reason) for verdict in verdicts] == [("fail", "truncated")] * 2
        pool.submit(2, [(known, sample("right", finish="length")), (known, sample("right"))])
        assert [verdict.outcome for verdict in collect(pool)[2]] == ["fail", "pass"]


def test_a_retry_cures_a_transient_crash(spec: str, tmp_path: Path) -> None:
    with VerifierPool({"name": spec, "retries": 1}, workers=1) as pool:
        verdicts = judge(pool, ["right", f"touch_once {tmp_path / 'once'}", "wrong"])
    assert [verdict.outcome for verdict in verdicts] == ["pass", "pass", "fail"]


@pytest.mark.parametrize("retries", [0, 2])
def test_an_error_is_tried_again_as_often_as_asked(spec: str, tmp_path: Path, retries: int) -> None:
    file = tmp_path / "count"
    with VerifierPool({"name": spec, "retries": retries}, workers=1) as pool:
        (verdict,) = judge(pool, [f"count {file}"])
    assert verdict.error == "ValueError" and file.read_text() == "x" * (retries + 1)


def test_a_late_verdict_is_a_timeout_even_if_nobody_looked(tmp_path: Path) -> None:
    spec = write(tmp_path, "import time\ndef judge(problem, sample):\n    time.sleep(0.6)\n    return True\n")
    with VerifierPool({"name": spec, "timeout_s": 0.2, "retries": 0}, workers=1) as pool:
        pool.check()
        pool.submit(0, [(problem(), sample("x"))])
        time.sleep(1.5)
        (verdict,) = collect(pool)[0]
    assert verdict.error == "timeout"


def test_numbers_need_a_threshold(tmp_path: Path) -> None:
    spec = write(tmp_path, "def judge(problem, sample):\n    return float(sample.completion)\n")
    with VerifierPool({"name": spec, "threshold": 0.5}, workers=1) as pool:
        verdicts = judge(pool, ["0.25", "0.5", "nan"])
    assert [(verdict.outcome, verdict.score) for verdict in verdicts] == [("fail", 0.25), ("pass", 0.5), ("error", 0.0)]


@pytest.mark.parametrize("how", ["exit_process", "hang", "right"])
def test_grandchildren_die_with_their_worker(spec: str, tmp_path: Path, how: str) -> None:
    file = tmp_path / "pid"
    source = "def right(): return True\n"
    mine = write(tmp_path, MISBEHAVING + source)
    with VerifierPool({"name": mine, "timeout_s": 2.0, "retries": 0}, workers=1) as pool:
        (verdict,) = judge(pool, [f"grandchild_then {how} {file}"])
        assert verdict.outcome == ("pass" if how == "right" else "error")
        if how != "right":
            assert wait_until_gone(int(file.read_text()))
    assert wait_until_gone(int(file.read_text()))


def test_close_leaves_no_process_and_no_descriptor(spec: str) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    judge_once(spec)  # whatever is opened once per process is open now
    before, processes = descriptors(), len(children(os.getpid()))
    for _ in range(3):
        judge_once(spec)
    assert descriptors() == before
    assert len(children(os.getpid())) == processes


def judge_once(spec: str) -> None:
    with VerifierPool({"name": spec, "timeout_s": 0.3, "retries": 0}, workers=2) as pool:
        judge(pool, ["right", "exit_process", "hang", "segfault", "wrong"])
        pool.submit(1, [(problem(), sample("hang"))])
        pool.poll(0.05)


PARENT = """
import sys, time
from selfimprove.verify import VerifierPool
from tests.verify.support import problem, sample
with VerifierPool({"name": sys.argv[1]}, workers=2) as pool:
    for chunk in range(2):
        pool.submit(chunk, [(problem(), sample(f"grandchild_then hang {sys.argv[2]}{chunk}"))])
    pool.check()
    pool.poll(3)
    time.sleep(1000)
"""


def test_workers_die_with_a_killed_parent(spec: str, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PARENT, spec, str(tmp_path / "pid")]
    parent = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": root})
    workers: list[int] = []
    until = time.monotonic() + 60
    while len(workers) < 2 or not (tmp_path / "pid0").exists():
        assert time.monotonic() < until and parent.poll() is None
        workers = children(parent.pid)
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert all(wait_until_gone(worker) for worker in workers)
    for file in tmp_path.glob("pid*"):  # a worker that hangs is killed by the kernel and cannot take its own with it
        if file.read_text() and not gone(int(file.read_text())):
            os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        (
            "import no_such_module_anywhere\ndef judge(problem, sample): pass\n",
            r"mine\.py:1: ModuleNotFoundError.*no_such_module_anywhere",
        ),
        ("x = 1\n\nraise RuntimeError('not today')\ndef judge(problem, sample): pass\n", r"mine\.py:3: .*not today"),
        ("def judge(problem, sample: pass\n", r"mine\.py"),
        ("def jugde(problem, sample): return True\n", r"mine\.py.*no 'judge'.*jugde"),
        ("judge = 3\n", "int, not a function"),
        ("def judge(problem): return True\n", "def name"),
        ("def judge(problem, sample, *, depth): return True\n", "depth"),
        ("import sys\ndef judge(problem, sample): pass\nsys.exit(3)\n", "SystemExit"),
        (
            "import os\ndef judge(problem, sample): pass\nos._exit(3)\n",
            "cannot be loaded: its process ended with exit code 3",
        ),
        ("import ctypes\ndef judge(problem, sample): pass\nctypes.string_at(0)\n", r"SIGSEGV.*mine\.py.*line 3"),
    ],
)
def test_a_verifier_that_cannot_be_loaded_is_a_config_error(tmp_path: Path, source: str, wanted: str) -> None:
    spec = write(tmp_path, source)
    with VerifierPool({"name": spec}, workers=1) as pool, pytest.raises(ConfigError, match=wanted):
        pool.check()
    with pytest.raises(ConfigError), VerifierPool({"name": spec}, workers=2) as pool:
        judge(pool, ["right"])


def test_unknown_options_and_files_are_config_errors(spec: str, tmp_path: Path) -> None:
    with VerifierPool({"name": f"{tmp_path / 'absent.py'}:judge"}, workers=1) as pool, pytest.raises(ConfigError):
        pool.check()
    strict = write(tmp_path, "def judge(problem, sample, *, digits=3): return True\n")
    with (
        VerifierPool({"name": strict, "args": {"digit": 4}}, workers=1) as pool,
        pytest.raises(ConfigError, match="unexpected keyword argument 'digit'"),
    ):
        pool.check()


def test_a_problem_that_cannot_be_sent_is_named(spec: str) -> None:
    with VerifierPool({"name": spec}, workers=1) as pool, pytest.raises(ConfigError, match="p-1"):
        pool.check()
        pool.submit(0, [(problem(answer=lambda: 1), sample("right"))])
        collect(pool)


def test_a_file_edited_under_the_pool_is_refused(tmp_path: Path) -> None:
    spec = write(tmp_path, MISBEHAVING)
    with VerifierPool({"name": spec, "retries": 0}, workers=1) as pool:
        assert judge(pool, ["right"])[0].passed
        write(tmp_path, MISBEHAVING + "# edited\n")
        with pytest.raises(ConfigError, match="changed while it was in use"):
            judge(pool, ["exit_process", "right"])


def test_check_judges_nothing_and_its_worker_is_used(tmp_path: Path) -> None:
    mark = tmp_path / "judged"
    spec = write(tmp_path, f"def judge(problem, sample):\n    open({str(mark)!r}, 'a').close()\n    return True\n")
    with VerifierPool({"name": spec}, workers=4) as pool:
        pool.check()
        pool.check()
        assert not mark.exists() and children(os.getpid())
        assert judge(pool, ["x"])[0].passed and mark.exists()


def test_prints_go_to_the_log_and_are_bounded(spec: str, tmp_path: Path) -> None:
    log = tmp_path / "verifier.log"
    with VerifierPool({"name": spec, "retries": 0}, workers=1, log=str(log)) as pool:
        judge(pool, ["prints", "prints_much", "exit_process", "prints_much"])
    assert log.read_text().startswith("hello\nworld")
    assert 10_000 < log.stat().st_size <= 2**20


def test_a_slow_chunk_is_shared_out(tmp_path: Path) -> None:
    source = "import os, time\nfrom selfimprove.types import passing\n"
    source += "def judge(problem, sample):\n    time.sleep(0.1)\n    return passing(str(os.getpid()))\n"
    with VerifierPool({"name": write(tmp_path, source)}, workers=2) as pool:
        verdicts = judge(pool, ["x"] * 24)
    assert len({verdict.reason for verdict in verdicts}) == 2


def test_workers_get_no_terminal_and_a_private_umask(tmp_path: Path) -> None:
    source = "import os\nfrom selfimprove.types import passing\ndef judge(problem, sample):\n"
    source += "    stdin = os.readlink('/proc/self/fd/0')\n"
    source += "    return passing(f'{os.umask(0):o} {os.getsid(0) == os.getpid()} {stdin}')\n"
    with VerifierPool({"name": write(tmp_path, source)}, workers=1) as pool:
        (verdict,) = judge(pool, ["x"])
    assert verdict.reason == "77 True /dev/null"


def test_starting_a_worker_imports_little(tmp_path: Path) -> None:
    source = "import sys\nfrom selfimprove.types import passing\ndef judge(problem, sample):\n"
    source += "    return passing(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    with VerifierPool({"name": write(tmp_path, source)}, workers=1) as pool:
        (verdict,) = judge(pool, ["x"])
    heavy = {"torch", "numpy", "pyarrow", "pydantic", "multiprocessing", "ray", "yaml", "click"}
    assert not heavy & set(verdict.reason.split())
