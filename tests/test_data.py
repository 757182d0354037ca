"""Problems read from files and generators: what is understood, what is refused and how it is named."""

import gzip
import json
import random
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.data import answers_digest, load, problem_id, problems_digest, read, splits
from selfimprove.errors import ConfigError, PreconditionError
from selfimprove.types import Message, Problem


def write(path: Path, *rows: object) -> str:
    """A JSONL file of rows: bytes and text as they are, anything else as JSON."""
    lines = [row if isinstance(row, bytes | str) else json.dumps(row) for row in rows]
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines) + b"\n")
    return str(path)


def refusal(path: Path, *rows: object, **kwargs: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(path, *rows), **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


def test_columns_become_fields(tmp_path: Path) -> None:
    row = {"prompt": "1+1=", "answer": "2", "completion": "is 2", "tests": ["t"], "task": "sum", "level": 3}
    (problem,) = load(write(tmp_path / "a.jsonl", row))
    assert problem.prompt == (Message("text", "1+1="),)
    assert (problem.answer, problem.tests, problem.task) == ("2", ["t"], "sum")
    assert problem.demonstration == "is 2"
    assert problem.meta == {"level": 3, "demonstration": "is 2"}
    assert problem.id == problem_id("1+1=")


def test_columns_can_be_renamed_and_unknown_ones_are_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"question": "q", "final": 3, "prompt": "kept in meta"})
    (problem,) = load(source, columns={"prompt": "question", "answer": "final", "tests": None})
    assert (problem.text, problem.answer, problem.meta) == ("q", "3", {"prompt": "kept in meta"})
    with pytest.raises(ConfigError, match=r"no line has 'finel' \(columns.answer\); did you mean 'final'"):
        load(source, columns={"prompt": "question", "answer": "finel"})
    with pytest.raises(ConfigError, match=r"columns\.anwser"):
        load(source, columns={"anwser": "final"})


def test_base_is_where_relative_files_are(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", {"prompt": "q"})
    assert load("a.jsonl", base=tmp_path)[0].text == "q"


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("0.10", "0.10"),
        ("1e3", "1e3"),
        ("-0", "-0"),
        (str(10**30), str(10**30)),
        ("46", "46"),
        ('"46"', "46"),
        ("1.50000000000000000001", "1.50000000000000000001"),
        ("[0.10, 2, true, null]", ["0.10", "2", True, None]),
        ('{"value": 0.10}', {"value": "0.10"}),
        ("true", True),
        ("null", None),
    ],
)
def test_numbers_in_answers_keep_their_text(tmp_path: Path, literal: str, text: object) -> None:
    (problem,) = load(write(tmp_path / "a.jsonl", f'{{"prompt": "q", "answer": {literal}, "score": 0.10}}'))
    assert problem.answer == text
    assert problem.meta == {"score": 0.1}


def test_conversations(tmp_path: Path) -> None:
    user, assistant = {"role": "user", "content": "hi"}, {"role": "assistant", "content": " hello\n"}
    source = write(
        tmp_path / "a.jsonl",
        {"messages": [user, assistant]},
        {"prompt": [{"role": "system", "content": ""}, user], "completion": [assistant]},
        {"prompt": [{**user, "content": "you", "name": None}]},
    )
    one, two, three = load(source)
    assert one.prompt == (Message("user", "hi"),)
    assert (three.prompt, three.demonstration) == ((Message("user", "you"),), None)
    assert one.demonstration == two.demonstration == " hello\n"
    assert two.prompt == (Message("system", ""), Message("user", "hi"))


def test_every_bad_row_is_named_with_its_line(tmp_path: Path) -> None:
    good = [{"prompt": f"q{i}"} for i in range(16)]
    message = refusal(tmp_path / "a.jsonl", *good, '{"prompt": oops}', {"prompt": "fine"}, {"prompt": 5})
    assert "a.jsonl:17: invalid JSON at column 12" in message
    assert "a.jsonl:19: the prompt must be text or a list of messages, got a number" in message
    assert "2 of 19 lines" in message
    assert "a.jsonl:18" not in message


def test_twenty_bad_rows_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.jsonl", *[{"prompt": i} for i in range(1234)])
    assert message.count("a.jsonl:") == 21
    assert "a.jsonl:20:" in message and "a.jsonl:21:" not in message
    assert message.endswith("... and 1,214 more")


BAD = {
    "list": ([1], "not a JSON object but a list; a JSON array becomes JSONL"),
    "text": ('"q"', "not a JSON object but text"),
    "no prompt": ({"question": "q"}, "no 'prompt'; the row has: question"),
    "null prompt": ({"prompt": None}, "'prompt' is null"),
    "empty prompt": ({"prompt": " \n"}, "empty prompt"),
    "no messages": ({"prompt": []}, "empty prompt"),
    "only an assistant": ({"messages": [{"role": "assistant", "content": "x"}]}, "empty prompt"),
    "bad message": ({"prompt": [{"role": "user"}]}, "a message must be"),
    "ends with a call": (
        {"prompt": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "ends with an assistant message that calls tools",
    ),
    "tools that are none": ({"prompt": [{"role": "user", "content": "x"}], "tools": "add"}, "'tools' must be a list"),
    "tools without a conversation": ({"prompt": "x", "tools": [{"name": "add"}]}, "'tools' need a conversation"),
    "text among others": ({"prompt": [{"role": "text", "content": "x"}] * 2}, "role 'text'"),
    "nul": ('{"prompt": "a\\u0000"}', "NUL character (\\u0000) at character 2"),
    "nul in completion": ('{"prompt": "a", "completion": "b\\u0000"}', "the completion holds a NUL"),
    "nul in answer": ('{"prompt": "a", "answer": ["\\u0000"]}', "the answer holds a NUL"),
    "surrogate": ('{"prompt": "a\\ud800"}', "'prompt' holds a lone surrogate (\\ud800) at character 2"),
    "surrogate in completion": ('{"prompt": "a", "completion": "\\udfff"}', "'completion' holds a lone surrogate"),
    "surrogate in answer": ('{"prompt": "a", "answer": "\\ud800"}', "'answer' holds a lone surrogate"),
    "surrogate deep down": ('{"prompt": "a", "x": [{"y": "\\ud800"}]}', "'x' holds a lone surrogate"),
    "surrogate in a name": ('{"prompt": "a", "\\ud800": 1}', "'a name' holds a lone surrogate"),
    "empty completion": ({"prompt": "a", "completion": ""}, "empty completion"),
    "blank completion": ({"prompt": "a", "completion": " "}, "empty completion"),
    "blank reply": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]},
        "empty completion",
    ),
    "completion type": ({"prompt": "a", "completion": 4}, "the completion must be text, got a number"),
    "two completions": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "completion": "z"},
        "there is a completion too",
    ),
    "demonstration": ({"prompt": "a", "demonstration": "x"}, "'completion'"),
    "nan": ('{"prompt": "a", "answer": NaN}', "NaN is not JSON"),
    "infinity": ('{"prompt": "a", "answer": -Infinity}', "-Infinity is not JSON"),
    "overflow": ('{"prompt": "a", "x": 1e999}', "'x' holds inf"),
    "digits": ('{"prompt": "a", "answer": ' + "9" * 5000 + "}", "4,300 digits"),
    "depth": ('{"prompt": "a", "x": ' + "[" * 100_000, "nested too deeply"),
    "half the depth": ('{"prompt": "a", "x": ' + "[" * 900 + "]" * 900 + "}", "nested too deeply"),
    "key twice": ('{"prompt": "a", "answer": 1, "answer": 2}', "'answer' appears twice"),
    "task type": ({"prompt": "a", "task": 3}, "the task must be a name"),
    "key type": ({"prompt": "a", "key": 1.5}, "the key must be text or a whole number"),
    "utf-8": (b'{"prompt": "\xff"}', "not UTF-8: byte 0xff at position 13"),
    "utf-16": ('{"prompt": "a"}'.encode("utf-16"), "UTF-16"),
    "1 MB": ({"prompt": "x" * 1_000_000}, "1,000,000 characters, more than max_prompt_chars (500,000)"),
    "truncated": ('{"prompt": "a", "answ', "invalid JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_say_where_and_what(tmp_path: Path, case: str) -> None:
    row, expected = BAD[case]
    message = refusal(tmp_path / "a.jsonl", {"prompt": "fine"}, row)
    assert "a.jsonl:2: " in message and expected in message
    assert len(message) < 500


def test_longer_prompts_on_request(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"prompt": "x" * 1_000_000})
    assert len(load(source, {"max_prompt_chars": 1_000_000})[0].text) == 1_000_000
    with pytest.raises(ConfigError, match="takes no argument 'n'"):
        load(source, {"n": 3})
    with pytest.raises(ConfigError, match="whole number"):
        load(source, {"max_prompt_chars": "many"})


def test_one_problem_with_two_answers_names_both_lines(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": "a", "answer": 1}, {"prompt": "b"}, {"prompt": "a", "answer": 2}]
    message = refusal(tmp_path / "a.jsonl", *rows)
    assert "a.jsonl:3: asks the same as" in message and "a.jsonl:1 with another answer ('2', there '1')" in message
    assert "another tests" in refusal(
        tmp_path / "a.jsonl", {"prompt": "a", "tests": "x"}, {"prompt": "a", "tests": "y"}
    )
    keyed = [{**row, "key": place} for place, row in enumerate(rows)]
    assert len(load(write(tmp_path / "a.jsonl", *keyed))) == 3


def test_duplicates_are_counted_once(tmp_path: Path) -> None:
    row = {"prompt": "a", "answer": 1, "row": 0}
    loaded = read(write(tmp_path / "a.jsonl", row, {**row, "row": 1}, row, {**row, "completion": "one"}))
    assert (len(loaded.problems), loaded.rows, loaded.duplicates) == (1, 4, 3)
    assert loaded.problems[0].meta == {"row": 0}
    assert "3 repeated lines counted once" in loaded.notes[0]
    assert "1 of them have another completion" in loaded.notes[1]


def test_rows_without_a_required_column(tmp_path: Path) -> None:
    message = refusal(tmp_path / "a.jsonl", {"prompt": "a", "completion": "x"}, {"prompt": "b"}, require=["completion"])
    assert "a.jsonl:2: no completion" in message and "1 of 2" in message


def test_bom_blank_lines_and_carriage_returns_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n  \n{"prompt": "b\xe2\x80\xa8c"}')
    assert [problem.text for problem in load(str(path))] == ["a", "b\u2028c"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"prompt": "a"})
    with pytest.raises(PreconditionError, match=r"no file 'trian.jsonl' in .*did you mean 'train.jsonl'"):
        load("trian.jsonl", base=tmp_path)
    with pytest.raises(ConfigError, match="is a directory"):
        load(str(tmp_path))
    (tmp_path / "dir.jsonl").mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        load("dir.jsonl", base=tmp_path)
    for name in ("a.tsv", "a.json"):
        (tmp_path / name).write_text("x")
        with pytest.raises(ConfigError, match=r"unknown kind of file; use .jsonl, .jsonl.gz, .parquet or .csv"):
            load(name, base=tmp_path)
    for content in (b"", b"\n\n", b"\xef\xbb\xbf"):
        (tmp_path / "empty.jsonl").write_bytes(content)
        with pytest.raises(ConfigError, match=r"holds no problems|cannot be used"):
            load("empty.jsonl", base=tmp_path)


def test_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"prompt": "%d"}\n' % i for i in range(1000)))
    (tmp_path / "a.jsonl.gz").write_bytes(whole)
    assert len(load("a.jsonl.gz", base=tmp_path)) == 1000
    for damaged in (whole[:-20], whole[:500] + b"\0" * 50 + whole[550:], b"plain text"):
        (tmp_path / "a.jsonl.gz").write_bytes(damaged)
        with pytest.raises(ConfigError, match="damaged gzip file"):
            load("a.jsonl.gz", base=tmp_path)


def test_parquet_gives_what_jsonl_gives(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}+1=", "answer": str(i + 1), "completion": "x", "level": i} for i in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert load("a.parquet", base=tmp_path) == load(write(tmp_path / "a.jsonl", *rows))


def test_parquet_types(tmp_path: Path) -> None:
    answers = [pa.array([0.1, 10.0], pa.float32()), pa.array([0.1, 10]), pa.array([Decimal("0.10"), Decimal("1.00")])]
    texts = []
    for answer in answers:
        pq.write_table(
            pa.table({"prompt": ["a", "b"], "answer": answer, "x": [float("nan"), 1]}), tmp_path / "a.parquet"
        )
        problems = load("a.parquet", base=tmp_path)
        texts.append([problem.answer for problem in problems])
        assert [problem.meta["x"] for problem in problems] == [None, 1.0]
    assert texts == [["0.1", "10"], ["0.1", "10"], ["0.10", "1.00"]]


def test_bad_parquet_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"

    def message(**columns: object) -> str:
        pq.write_table(pa.table(columns), path)
        with pytest.raises(ConfigError) as caught:
            load(str(path))
        return str(caught.value)

    assert "a.parquet:row 2: the answer is nan" in message(prompt=["a", "b"], answer=[1.0, float("nan")])
    assert "a.parquet:row 2: 'prompt' is null" in message(prompt=["a", None])
    assert "a.parquet:row 1: 'image' holds bytes" in message(prompt=["a"], image=[b"x"])
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0")
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff")])
    assert "a.parquet:row 2: a text that is not UTF-8" in message(prompt=broken)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="not a whole Parquet file"):
        load(str(path))


GENERATOR = """
def sums(n, seed, *, top=9):
    if top > 99:
        raise ValueError("top is too high")
    for i in range(n):
        yield {"prompt": f"{i}+{seed}=", "answer": i + seed, "score": 0.5}

def wrong(n):
    yield {"prompt": "a", "answer": float("nan")}
    yield ["a"]
    yield {"prompt": "b", "x": object()}
"""


def test_generators(tmp_path: Path) -> None:
    (tmp_path / "gen.py").write_text(GENERATOR)
    problems = load("gen.py:sums", {"n": 3}, base=tmp_path)
    assert [(problem.text, problem.answer) for problem in problems] == [("0+0=", "0"), ("1+0=", "1"), ("2+0=", "2")]
    assert load("gen.py:sums", {"n": 1, "seed": 4}, base=tmp_path)[0].text == "0+4="
    with pytest.raises(ConfigError, match="missing a required argument: 'n'"):
        load("gen.py:sums", base=tmp_path)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'm'"):
        load("gen.py:sums", {"n": 1, "m": 2}, base=tmp_path)
    with pytest.raises(ConfigError, match="n must be a whole number"):
        load("gen.py:sums", {"n": "10"}, base=tmp_path)
    with pytest.raises(ConfigError, match="top is too high"):
        load("gen.py:sums", {"n": 1, "top": 100}, base=tmp_path)
    with pytest.raises(ConfigError, match="no problem generator"):
        load("no_such_generator", {"n": 1})


def test_bad_generator_rows_are_named(tmp_path: Path) -> None:
    (tmp_path / "gen.py").write_text(GENERATOR)
    with pytest.raises(ConfigError) as caught:
        load("gen.py:wrong", {"n": 1}, base=tmp_path)
    message = str(caught.value)
    assert "gen.py:wrong:row 1: the answer is nan" in message
    assert "gen.py:wrong:row 2: a row must be a dict, got a list" in message
    assert "gen.py:wrong:row 3: 'x' holds a value of type object" in message


def test_ids_are_of_the_prompt_and_key_alone() -> None:
    assert problem_id("12+34=") == "a0eb2f86c44f3bc4"  # a changed id orphans every stored run
    assert problem_id("a") == problem_id([{"role": "text", "content": "a"}]) == problem_id((Message("text", "a"),))
    different = [problem_id("a"), problem_id("a", "1"), problem_id("b"), problem_id([{"role": "user", "content": "a"}])]
    assert len(set(different)) == 4
    assert problem_id("e\u0301") != problem_id("\u00e9")


def numbered(count: int) -> list[Problem]:
    return [Problem(problem_id(str(i)), (Message("text", str(i)),)) for i in range(count)]


def ids(problems: tuple[Problem, ...]) -> set[str]:
    return {problem.id for problem in problems}


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 200),
    more=st.integers(0, 200),
    gate=st.integers(0, 60),
    report=st.integers(0, 60),
    seed=st.integers(0, 3),
)
def test_splits_are_exact_disjoint_and_safe_to_grow(count: int, more: int, gate: int, report: int, seed: int) -> None:
    problems = numbered(count + more)
    if count <= gate + report:
        with pytest.raises(ConfigError, match="none to train on"):
            splits(problems[:count], gate, report, seed)
        return
    small, large = splits(problems[:count], gate, report, seed), splits(problems, gate, report, seed)
    for split in (small, large):
        assert (len(split.gate), len(split.report)) == (gate, report)
        assert len(ids(split.train) | ids(split.gate) | ids(split.report)) == sum(
            len(part) for part in (split.train, split.gate, split.report)
        )
    assert ids(small.train) <= ids(large.train)
    assert not ids(small.gate) & ids(large.report) and not ids(small.report) & ids(large.gate)


def test_splits_ignore_order_and_follow_the_seed() -> None:
    problems = numbered(100)
    shuffled = random.Random(1).sample(problems, 100)
    assert splits(problems, 10, 20) == splits(shuffled, 10, 20)
    assert ids(splits(problems, 10, 20, seed=1).gate) != ids(splits(problems, 10, 20).gate)
    with pytest.raises(ConfigError, match="negative"):
        splits(problems, -1, 0)


def test_digests_separate_what_is_asked_from_how_it_is_judged() -> None:
    one = Problem("1", (Message("text", "a"),), "1", meta={"x": 1, "y": 2})
    two = Problem("2", (Message("text", "b"),), "2")
    corrected = Problem("1", one.prompt, "1.0", meta=one.meta)
    assert problems_digest([one, two]) == problems_digest([two, corrected]) != problems_digest([one])
    assert answers_digest([one, two]) == answers_digest([two, one]) != answers_digest([corrected, two])
    changed = [
        Problem("1", one.prompt, "1", tests="t", meta=one.meta),
        Problem("1", one.prompt, "1", task="t", meta=one.meta),
        Problem("1", one.prompt, "1", meta={"x": 2, "y": 2}),
    ]
    assert len({answers_digest([problem]) for problem in [one, *changed]}) == 4
    assert answers_digest([Problem("1", one.prompt, "1", meta={"y": 2, "x": 1})]) == answers_digest([one])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"\n".join(lines))
    try:
        assert all(problem.text.strip() for problem in load(str(path)))
    except ConfigError as error:
        str(error).encode()


def test_csv_rows_are_texts_and_empty_cells_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        '\ufeffprompt,answer,level\n"2+2, please?",4,\n"two\nlines",0.10,3\n', encoding="utf-8"
    )
    first, second = load("p.csv", base=tmp_path)
    assert (first.text, first.answer, first.meta) == ("2+2, please?", "4", {"level": None})
    assert (second.text, second.answer) == ("two\nlines", "0.10")
    (tmp_path / "bad.csv").write_text("prompt,answer\na,1\nb\nc,1,2\n")
    with pytest.raises(ConfigError, match=r"bad\.csv:row 2: a row with more or fewer cells[\s\S]*bad\.csv:row 3"):
        load("bad.csv", base=tmp_path)


def test_sharegpt_conversations(tmp_path: Path) -> None:
    said = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    (tmp_path / "p.jsonl").write_text(json.dumps({"conversations": said}))
    (problem,) = load("p.jsonl", base=tmp_path)
    assert problem.prompt == (Message("system", "Be brief."), Message("user", "2+2?"))
    assert problem.demonstration == "4" and problem.meta == {"demonstration": "4"}


def test_the_answer_is_a_part_of_a_worked_solution(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "2+2\n#### 4"}, {"prompt": "b", "completion": "so #### 5, no: #### 6"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [p.answer for p in load("p.jsonl", {}, {"answer_pattern": "#### (\\d+)"}, tmp_path)] == ["4", "6"]
    with pytest.raises(ConfigError, match=r"p\.jsonl:1: columns\.answer_pattern 'x=' matches nothing in '2\+2"):
        load("p.jsonl", {}, {"answer_pattern": "x="}, tmp_path)
