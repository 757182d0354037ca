"""Group votes, formats, programs and servers. Run: pytest tests/verifiers/test_small.py"""

# ruff: noqa: E501 - cases stand whole on their lines

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selfimprove.verifiers.entropy import entropy
from selfimprove.verifiers.json_schema import json_schema
from selfimprove.verifiers.majority import majority
from selfimprove.verifiers.mbr import mbr
from selfimprove.verifiers.no_repetition import no_repetition
from selfimprove.verifiers.text_format import text_format

from selfimprove.types import Problem, Sample, Verdict, messages
from selfimprove.verify import VerifierPool
from tests.verify.support import collect

PROBLEM = Problem("p", messages("How many?"), "4")


def samples(*texts: str) -> list[Sample]:
    return [Sample(f"s/{i}", "p", i, "", "", [], text, [], "stop", i, "") for i, text in enumerate(texts)]


def outcomes(found: Sequence[Verdict]) -> list[str]:
    return [verdict.error or verdict.outcome for verdict in found]


def test_the_majority_passes() -> None:
    found = majority(PROBLEM, samples("#### 4", r"\boxed{4.0}", "The answer is 5.", "no idea at all"))
    assert outcomes(found) == ["pass", "pass", "fail", "fail"]
    assert [verdict.score for verdict in found] == [0.5, 0.5, 0.25, 0.0]
    assert outcomes(majority(PROBLEM, samples("#### 4", "#### 5"))) == ["fail", "fail"], "a tie"
    assert outcomes(majority(PROBLEM, samples("#### 4", "#### 4", "#### 5"), min_share=0.7)) == ["fail"] * 3


def test_certainty_is_one_minus_the_entropy() -> None:
    assert [v.score for v in entropy(PROBLEM, samples("#### 4", "#### 4"))] == [1.0, 1.0]
    assert outcomes(entropy(PROBLEM, samples("#### 4", "#### 5"))) == ["fail", "fail"]
    half = entropy(PROBLEM, samples("#### 4", "#### 4", "#### 5", "#### 5"))
    assert half[0].score == pytest.approx(0.5) and outcomes(half) == ["pass"] * 4


@pytest.mark.parametrize("utility", ["words", "edits", "answers"])
def test_mbr_keeps_the_one_that_agrees_best(utility: str) -> None:
    found = mbr(PROBLEM, samples("so it is #### 4", "thus it is #### 4", "maybe #### 77"), utility=utility)
    assert outcomes(found).count("pass") == 1 and found[2].outcome == "fail"
    assert found[2].score < found[0].score


@given(st.lists(st.sampled_from(["#### 1", "#### 2", "#### 3", "none of it"]), min_size=1, max_size=8), st.randoms())
def test_votes_do_not_depend_on_the_order(texts: list[str], rng: Any) -> None:
    order = list(range(len(texts)))
    rng.shuffle(order)
    for verifier in (majority, entropy):
        plain, moved = verifier(PROBLEM, samples(*texts)), verifier(PROBLEM, samples(*(texts[i] for i in order)))
        assert [outcomes(plain)[i] for i in order] == outcomes(moved)


SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ('{"n": 1}', True), ('```json\n{"n": 1}\n```', True), ('{"n": 1.5}', False), ('{"n": 1, "n": 2}', False),
        ('{"n": NaN}', False), ('{"n": 1} and more', False), ("", False), ("[" * 100_000, False), ('{"m": 1}', False),
    ],
)  # fmt: skip
def test_json_of_a_shape(text: str, ok: bool) -> None:
    assert json_schema(SCHEMA)(PROBLEM, samples(text)[0]).passed is ok
    assert json_schema()(Problem("p", (), json.dumps(SCHEMA)), samples(text)[0]).passed is ok


def test_what_is_no_schema_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a JSON Schema"):
        json_schema({"type": "nonsense"})
    with pytest.raises(ValueError, match="problem 'p' has no JSON Schema"):
        json_schema()(Problem("p", (), 3), samples("{}")[0])


def test_patterns_and_tags() -> None:
    judge = text_format(tags=["think", "answer"])
    assert judge(PROBLEM, samples("<think>a</think>\n<answer>b</answer>")[0]).passed
    for text in ("<answer>b</answer><think>a</think>", "<think>a</think>", "<think>a</think> x <answer>b</answer>",
                 "<think>a</think><answer>b</answer><answer>c</answer>", "<think>a</think><answer>b</answer> bye"):  # fmt: skip
        assert judge(PROBLEM, samples(text)[0]).outcome == "fail"
    digits = text_format(matches=[r"[0-9]+"], forbidden=["x"], whole=True)
    assert [digits(PROBLEM, s).passed for s in samples("12", "12 ", "1x")] == [True, False, False]
    for options in ({}, {"matches": ["("]}):
        with pytest.raises(ValueError, match="text_format"):
            text_format(**options)


def test_repetition_and_length() -> None:
    texts = samples("one two three four five six", "go on " * 50, "a line that is long enough\n" * 9 + "end", "one")
    assert [no_repetition(PROBLEM, s, max_share=0.9).passed for s in texts[:1]] == [True]
    assert [no_repetition(PROBLEM, s, words=(2, None)).passed for s in texts] == [True, False, False, False]


JUDGE = """
import json, sys
for line in sys.stdin:
    said = json.loads(line)["sample"]["completion"]
    if said == "die": sys.exit(3)
    print({"yes": "true", "no": "false", "half": "0.5", "map": '{"passed": true, "answer": "42"}'}.get(said, said), flush=True)
"""


def test_a_program_judges_and_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    config = {
        "name": "own_program",
        "args": {"argv": [sys.executable, str(tmp_path / "judge.py")]},
        "threshold": 0.6,
        "retries": 0,
    }
    with VerifierPool(config, workers=1) as pool:
        pool.submit(
            1, [(PROBLEM, s) for s in samples("yes", "no", "half", "map", "die", "yes", "garbage", "[1]", "yes")]
        )
        found = collect(pool)[1]
    assert outcomes(found) == ["pass", "fail", "fail", "pass", "program", "pass", "bad-answer", "bad-answer", "pass"]
    assert found[3].answer == "42" and "exit code 3" in found[4].reason


class Handler(BaseHTTPRequestHandler):
    tried: dict[str, int] = {}  # noqa: RUF012 - shared on purpose: the server is one

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))["sample"]["completion"]
        self.tried[said] = self.tried.get(said, 0) + 1
        status = (
            500 if said == "broken" or (said == "later" and self.tried[said] == 1) else 404 if said == "lost" else 200
        )
        body = b"<html>" if said == "html" else json.dumps({"passed": said in ("yes", "later")}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/judge"
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_server_judges_and_its_silence_is_no_fail(server: str) -> None:
    Handler.tried.clear()
    config = {"name": "http_judge", "args": {"url": server, "wait_s": 0.05}, "retries": 0}
    with VerifierPool(config, workers=1) as pool:
        pool.submit(1, [(PROBLEM, s) for s in samples("yes", "no", "later", "broken", "lost", "html")])
        found = collect(pool)[1]
    assert outcomes(found) == ["pass", "fail", "pass", "remote", "remote", "bad-answer"]
    assert Handler.tried["broken"] == 3 and Handler.tried["lost"] == 1
    with VerifierPool(
        {"name": "http_judge", "args": {"url": "http://127.0.0.1:9/", "tries": 1}, "retries": 0}, workers=1
    ) as pool:
        pool.submit(1, [(PROBLEM, samples("yes")[0])])
        assert outcomes(collect(pool)[1]) == ["remote"]
