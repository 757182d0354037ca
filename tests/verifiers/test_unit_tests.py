"""Programs judged by their tests: honest ones pass, tricks do not. Run: pytest tests/verifiers/test_unit_tests.py"""

# ruff: noqa: E501 - programs stand whole on their lines

from __future__ import annotations

import contextlib
import gzip
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selfimprove.verifiers.unit_tests import unit_tests

from selfimprove.sandbox.extract import blocks
from selfimprove.sandbox.values import BadValue, dumps, loads, pack, unpack
from selfimprove.types import Problem, Sample, Verdict, messages
from selfimprove.verify import VerifierPool
from tests.verify.support import collect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
SHARED = Path(__file__).parents[2].parent / "shared"
CASES, HUMANEVAL = SHARED / "verifier_cases/cases.jsonl", SHARED / "data/humaneval/HumanEval.jsonl.gz"


@pytest.fixture(scope="module")
def judge() -> Iterator[unit_tests]:
    made = unit_tests(time_limit_s=2.0)
    yield made
    made.sandbox.close()


def sample(completion: str, name: str = "s") -> Sample:
    return Sample(name, "p", 0, "", "", [], completion, [], "stop", 0, "")


def problem(tests: Any, prompt: str = "Write the function.") -> Problem:
    return Problem("p", messages(prompt), None, tests)


TRIPLE = {
    "entry_point": "triple",
    "tests": ["assert triple(2) == 6", "assert triple(-5) == -15", "assert triple(0) == 0"],
}
TRIPLES = {"entry_point": "triple", "io": [[[2], 6], [[-5], -15], [[0], 0], [[7], 21]]}

PYTEST = """
import unittest
import pytest
from solution import LIMIT, Box, Wrong, box, triple

@pytest.fixture
def seven():
    return 7

@pytest.mark.parametrize("n", [0, -2, 5])
def test_values(n):
    assert triple(n) == 3 * n

def test_fixture(seven, tmp_path):
    assert triple(seven) == pytest.approx(21.0) and LIMIT == 9

def test_raises():
    with pytest.raises(Wrong, match="much"):
        triple(10)

class TestBox(unittest.TestCase):
    def test_box(self):
        self.assertEqual(box(4).n, 4)
        self.assertIsInstance(box(4), Box)

@pytest.mark.skip
def test_never():
    assert False
"""

HONEST: dict[str, tuple[Any, str]] = {
    "plain": (TRIPLE, "def triple(n):\n    return 3 * n"),
    "pairs": (TRIPLES, "```python\ntriple = lambda n: n * 3\n```"),
    "prose around": (TRIPLE, "Sure!\n\n```py\ndef triple(n): return n + n + n\n```\nIt adds three times."),
    "thinking first": (TRIPLE, "<think>```python\ndef triple(n): return 0\n```</think>\n```python\ndef triple(n): return 3*n\n```"),
    "another language too": (TRIPLE, "```bash\npip install x\n```\n```python\ndef triple(n): return 3*n\n```"),
    "class helper": (TRIPLE, "class T:\n    def __init__(s, n): s.n = n\n    def go(s): return s.n * 3\ndef triple(n): return T(n).go()"),
    "async": (TRIPLE, "import asyncio\nasync def f(n): return 3 * n\ndef triple(n): return asyncio.run(f(n))"),
    "enum, match": (TRIPLE, "from enum import Enum\nclass C(Enum):\n    A = 3\ndef triple(n):\n    match n:\n        case _: return C.A.value * n"),
    "counter": ({"tests": ["assert count('abca') == {'a': 2, 'b': 1, 'c': 1}"], "entry_point": "count"},
                "from collections import Counter\ndef count(s): return Counter(s)"),
    "own exception": ({"tests": ["try:\n    f(1)\n    assert False\nexcept Wrong as e:\n    assert str(e) == 'no'"], "entry_point": "f"},
                      "class Wrong(Exception): pass\ndef f(x): raise Wrong('no')"),
    "value error": ({"tests": ["try:\n    f(-1)\nexcept ValueError:\n    ok = 1\nassert ok"], "entry_point": "f"},
                    "def f(x):\n    if x < 0: raise ValueError('neg')"),
    "named tuple": ({"tests": ["assert f() == (1, 2)", "assert f().x == 1"], "entry_point": "f"},
                    "from collections import namedtuple\ndef f(): return namedtuple('P', 'x y')(1, 2)"),
    "object with methods": ({"tests": ["s = Stack()", "s.push(4)", "s.push(5)", "assert s.pop() == 5", "assert len(s) == 1"]},
                            "class Stack:\n    def __init__(s): s.a = []\n    def push(s, x): s.a.append(x)\n    def pop(s): return s.a.pop()\n    def __len__(s): return len(s.a)"),
    "dataclasses are equal by state": ({"tests": ["assert f(1) == f(1)", "assert f(1) != f(2)"], "entry_point": "f"},
                                       "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(x)"),
    "match object": ({"tests": ["assert f('ab')", "assert not f('xb')"], "entry_point": "f"}, "import re\ndef f(s): return re.match('a', s)"),
    "module of the solution": ({"tests": ["assert f() == sys.maxsize"], "entry_point": "f"}, "import sys\ndef f(): return sys.maxsize"),
    "endless generator": ({"tests": ["g = f()", "assert [next(g) for _ in range(3)] == [0, 1, 2]"], "entry_point": "f"},
                          "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1"),
    "in place": ({"tests": ["a = [3, 1]", "f(a)", "assert a == [1, 3]"], "entry_point": "f", "inplace": True}, "def f(a): a.sort()"),
    "big numbers": ({"tests": ["assert f(300) % 1000 == 0"], "entry_point": "f"}, "import math\ndef f(n): return math.factorial(n)"),
    "stdin": ({"stdin_tests": [{"input": "3\n1 2 3\n", "output": "6\n"}, {"input": "1\n9\n", "output": "9"}]},
              "import sys\nn, *x = map(int, sys.stdin.read().split())\nprint(sum(x))"),
    "stdin, fileinput": ({"stdin_tests": [{"input": "a\nb\n", "output": "b\na\n"}]},
                         "import fileinput\nfor l in reversed(list(fileinput.input())): print(l.strip(), ' ')"),
    "pytest file": ({"pytest": PYTEST}, "LIMIT = 9\nclass Wrong(Exception): pass\nclass Box:\n    def __init__(s, n): s.n = n\n"
                    "def triple(n):\n    if n > LIMIT: raise Wrong('too much')\n    return 3 * n\ndef box(n): return Box(n)"),
    "pytest file, another module": ({"pytest": "import mine\ndef test_it(): assert mine.f() == 1", "module": "mine"}, "def f(): return 1"),
}  # fmt: skip

TRICKS: dict[str, tuple[Any, str]] = {
    "equal to all": (TRIPLE, "class A:\n    def __eq__(s, o): return True\ndef triple(n): return A()"),
    "equal float": (TRIPLES, "class A(float):\n    def __eq__(s, o): return True\ndef triple(n): return A(1)"),
    "equal list member": ({"tests": ["assert f() == [1, 2]"], "entry_point": "f"},
                          "class A(list):\n    def __eq__(s, o): return True\n    def __iter__(s): return iter([1, 2])\ndef f(): return A([0])"),
    "subtracts what is expected": ({"tests": ["assert abs(f() - 7.5) < 1e-6"], "entry_point": "f"},
                                   "class A:\n    def __sub__(s, o): return 0.0\n    __rsub__ = __sub__\ndef f(): return A()"),
    "orders as wished": ({"tests": ["assert f() < 3 and f() > 1"], "entry_point": "f"},
                         "class A:\n    def __lt__(s, o): return True\n    __gt__ = __lt__\ndef f(): return A()"),
    "contains everything": ({"tests": ["assert 17 in f()"], "entry_point": "f"},
                            "class A:\n    def __contains__(s, o): return True\n    def __iter__(s): return iter(())\ndef f(): return A()"),
    "all equal objects": ({"tests": ["assert f(1) == f(1)", "assert f(1).n == 1"], "entry_point": "f"},
                          "class A:\n    def __eq__(s, o): return True\n    n = 2\ndef f(x): return A()"),
    "stops a map": ({"tests": ["assert all(f(x) == x for x in range(3))"], "entry_point": "f"}, "def f(x): raise StopIteration"),
    "raises the assertion": ({"tests": ["try:\n    assert f(1) == 2\nexcept AssertionError:\n    pass"], "entry_point": "f"},
                             "import os\ndef f(x): os._exit(0)"),
    "exits in a call": (TRIPLE, "import sys\ndef triple(n): sys.exit(0)"),
    "exits at the end": (TRIPLE, "import os\ndef triple(n): return 0\nos._exit(0)"),
    "writes verdicts": (TRIPLE, "import os\nfor fd in range(64):\n    try: os.write(fd, b'\\0\\0\\0\\2{}' * 9)\n    except OSError: pass\ndef triple(n): return 0"),
    "forges the protocol": (TRIPLE, "import os, json\nm = json.dumps({'value': 6}).encode()\n"
                            "def triple(n):\n    os.write(3, len(m).to_bytes(4, 'big') + m)\n    return 0"),
    "knows the first test": (TRIPLE, "def triple(n): return 6"),
    "patches builtins": (TRIPLE, "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = lambda x: 0\ndef triple(n): return 0"),
    "poisons json": (TRIPLES, "import json\njson.dumps = lambda *a, **k: '{\"value\": 6}'\ndef triple(n): return 0"),
    "walks the frames": (TRIPLE, "import sys\ndef triple(n):\n    f = sys._getframe()\n    while f:\n        for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n"
                         "            if isinstance(v, dict) and 'tests' in v: return 3 * n\n        f = f.f_back\n    return 0"),
    "empties the arguments": ({"tests": ["x = [3, 1, 2]\nassert f(x) == sorted(x)"], "entry_point": "f"}, "def f(x):\n    x.clear()\n    return []"),
    "a thread answers later": (TRIPLE, "import threading, os\nthreading.Timer(0.01, lambda: os._exit(0)).start()\nimport time\ndef triple(n):\n    time.sleep(1)\n    return 0"),
    "pytest: nothing imported": ({"pytest": PYTEST}, "def triple(n): return 3 * n"),
    "pytest: equal to all": ({"pytest": "from solution import f\ndef test_it(): assert f() == 3"}, "class A:\n    def __eq__(s, o): return True\ndef f(): return A()"),
    "pytest: exits": ({"pytest": "from solution import f\ndef test_it(): assert f() == 3"}, "import os\ndef f(): os._exit(0)"),
    "pytest: skips": ({"pytest": "from solution import f\ndef test_it(): assert f() == 3"},
                      "class Skipped(Exception): pass\ntry:\n    import pytest\nexcept ImportError:\n    pass\ndef f():\n"
                      "    try:\n        pytest.skip('no')\n    except NameError:\n        raise Skipped('no')"),
    "pytest: patches it": ({"pytest": "from solution import f\ndef test_it(): assert f() == 3"},
                           "import os\nfor n in ('conftest.py', 'test_solution.py'):\n    open(n, 'w').write('')\ndef f(): return 1"),
    "nothing": (TRIPLE, ""),
    "refusal": (TRIPLE, "I'm sorry, I cannot help with that."),
    "other name": (TRIPLE, "def tripel(n): return 3 * n"),
    "commented": (TRIPLE, "# def triple(n): return 3 * n"),
    "last block is broken": (TRIPLE, "```python\ndef triple(n): return 3*n\n```\n```python\ndef triple(n) return\n```"),
    "after the turn": (TRIPLE, "I do not know.<|im_end|>\n```python\ndef triple(n): return 3*n\n```"),
    "prints and fails": ({"stdin_tests": [{"input": "1", "output": "1"}]}, "print(1)\nraise SystemExit(1)"),
    "prints too much": ({"stdin_tests": [{"input": "1", "output": "1"}]}, "while True: print(1)"),
    "echoes a part": ({"stdin_tests": [{"input": "4", "output": "16"}, {"input": "5", "output": "25"}]}, "input(); print(16)"),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(judge: unit_tests, name: str) -> None:
    tests, completion = HONEST[name]
    verdict = judge(problem(tests), sample(completion))
    assert verdict.outcome == "pass", verdict.reason
    assert verdict.steps and set(verdict.steps) == {1.0} and verdict.measured["memory_mb"] > 0


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_fail(judge: unit_tests, name: str) -> None:
    tests, completion = TRICKS[name]
    verdict = judge(problem(tests), sample(completion))
    assert verdict.outcome == "fail" and verdict.reason


@pytest.mark.parametrize(
    "prompt",
    [
        "import math\ndef triple(n):\n    'Thrice.'\n",
        "Complete this:\n```python\nimport math\ndef triple(n):\n    'Thrice.'\n```\nGood luck!",
        "Write this function.\ndef triple(n): gives three times n",
    ],
)
def test_code_in_a_prompt_helps_and_prose_is_no_fault(judge: unit_tests, prompt: str) -> None:
    assert judge(problem(TRIPLE, prompt), sample("def triple(n): return 3 * n")).passed
    helped = judge(problem(TRIPLE, prompt), sample("def triple(n): return int(math.prod([3, n]))"))
    assert helped.passed == ("import math" in prompt)


def test_pytest_files_give_partial_scores_and_their_own_faults_are_errors(judge: unit_tests) -> None:
    text = "import solution\nimport pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_it(n): assert solution.f(n) == 2 * n"
    verdict = judge(problem({"pytest": text}), sample("def f(n): return 2 * (n % 3)"))
    assert (verdict.outcome, verdict.score, verdict.steps) == ("fail", 0.75, (1.0, 1.0, 1.0, 0.0))
    for broken in ("def test_it(:", "import nowhere_at_all\ndef test_it(): pass"):
        with pytest.raises(ValueError, match="problem 'p' has a pytest file that"):
            judge(problem({"pytest": broken}), sample("def f(n): return 1"))
    assert "no test ran" in judge(problem({"pytest": "import solution"}), sample("def f(n): return 1")).reason


def test_partial_scores_follow_the_tests(judge: unit_tests) -> None:
    verdict = judge(problem(TRIPLES), sample("def triple(n): return 3 * abs(n)"))
    assert (verdict.outcome, verdict.score, verdict.steps) == ("fail", 0.75, (1.0, 0.0, 1.0, 1.0))


def test_time_runs_out_for_the_candidate_alone(judge: unit_tests) -> None:
    began = time.monotonic()
    verdict = judge(problem({**TRIPLE, "time_limit_s": 0.5}), sample("def triple(n):\n    while True: pass"))
    assert verdict.reason.endswith("timeout") and time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "tests", [None, {}, {"entry_point": "f"}, {"io": [[[1], 1]]}, {"tests": ["assert f("], "entry_point": "f"}]
)
def test_a_broken_task_is_an_error_not_a_fail(judge: unit_tests, tests: Any) -> None:
    with pytest.raises(ValueError, match="problem 'p' has"):
        judge(problem(tests), sample("def f(x): return x"))


def test_helpers_of_the_prompt_are_the_prompts(judge: unit_tests) -> None:
    prompt = 'def helper(x):\n    return x + 1\n\ndef f(x):\n    """Twice the helper."""\n'
    tests = {"entry_point": "f", "test": "def check(candidate):\n    assert candidate(1) == 2 * helper(1)\n"}
    assert judge(problem(tests, prompt), sample("    return 2 * helper(x)\n")).passed
    assert not judge(problem(tests, prompt), sample("def helper(x): return 0\ndef f(x): return 0")).passed


def test_through_the_pool_while_others_misbehave() -> None:
    endless = "def triple(n):\n    while True: pass"
    items = [
        (problem(TRIPLE), sample(endless if i % 10 == 0 else "def triple(n): return 3*n", f"s{i}")) for i in range(111)
    ]
    with VerifierPool({"name": "unit_tests", "args": {"time_limit_s": 0.3}}, workers=2) as pool:
        pool.submit(1, items)
        found: list[Verdict] = collect(pool)[1]
    assert [v.outcome for v in found] == ["fail" if i % 10 == 0 else "pass" for i in range(111)]


@pytest.mark.skipif(not CASES.is_file(), reason="the shared cases are not here")
@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_cheat_passes_and_no_honest_program_fails(judge: unit_tests, slow: bool) -> None:
    wrong = []
    for case in map(json.loads, CASES.read_text().splitlines()):
        if case["kind"] != "code" or bool(case.get("slow")) != slow:
            continue
        tests = {key: value for key, value in case["task"].items() if key != "prompt"}
        began = time.monotonic()
        verdict = judge(problem(tests, case["task"]["prompt"]), sample(case["completion"], case["id"]))
        late = time.monotonic() - began > 3
        after = judge(problem(TRIPLE), sample("def triple(n): return 3*n")).passed
        if (
            verdict.passed != case["must_accept"]
            or late
            or not after
            or Path(case.get("side_effect", "/none")).exists()
        ):
            wrong.append(case["id"])
    assert not wrong


@pytest.mark.skipif(not HUMANEVAL.is_file(), reason="HumanEval is not here")
def test_humanevals_own_solutions_pass(judge: unit_tests) -> None:
    failed, count = [], 0
    for row in map(json.loads, gzip.decompress(HUMANEVAL.read_bytes()).splitlines()):
        task = problem({"entry_point": row["entry_point"], "test": row["test"]}, row["prompt"])
        whole = f"```python\n{row['prompt']}{row['canonical_solution']}\n```"
        for completion in (row["canonical_solution"], whole):
            count += 1
            if not judge(task, sample(completion)).passed:
                failed.append(row["task_id"])
    assert count == 328 and not failed


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False)
    | st.fractions() | st.decimals(allow_nan=False) | st.dates() | st.datetimes().map(lambda d: d.replace(fold=0)) | st.timedeltas(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.integers() | st.text(), inner)
    | st.frozensets(st.integers() | st.text()),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_values_cross_unchanged(value: Any) -> None:
    back = unpack(loads(dumps(pack(value, id))), id)
    assert type(back) is type(value) and (back == value or repr(back) == repr(value))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(list("ltmsfquocrbid")),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2)))  # fmt: skip
def test_nonsense_from_a_cell_is_bad_value_or_plain(data: Any) -> None:
    with contextlib.suppress(BadValue):
        unpack(data, lambda body: None)


@given(st.text())
def test_any_text_has_blocks(text: str) -> None:
    assert all(isinstance(block, str) and block.strip() for block in blocks(text))
