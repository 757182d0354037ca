"""Selection: what is kept of a group, in which order, and whether every other attempt has a reason."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfimprove.select import (
    Selector,
    best,
    demonstrations,
    distinct,
    edit_distance,
    equation_key,
    equations_hold,
    farthest,
    first,
    funnel,
    gold,
    gold_over_own,
    mix,
    pairs,
    passed,
    reasons,
    shortest,
    weights,
)
from selfimprove.types import (
    Attempt,
    Demonstration,
    Finish,
    Group,
    Message,
    Problem,
    Sample,
    Turn,
    Verdict,
    erring,
    failing,
    passing,
)

PROMPT = (Message("text", "12+34="),)
VERDICTS = {"pass": passing(), "fail": failing("wrong"), "error": erring("crash")}


def attempt(index: int, text: str, outcome: str = "pass", finish: Finish = "stop", **fields: object) -> Attempt:
    verdict = VERDICTS[outcome]
    score = fields.pop("score", None)
    sample = Sample(
        id=f"1/attempt/p/{index}",
        problem_id="p",
        index=index,
        view="",
        prompt="12+34=",
        prompt_ids=(1, 2),
        completion=text,
        token_ids=tuple(range(len(text) + 1)),
        finish=finish,
        seed=index,
        policy="d",
    )
    return Attempt(replace(sample, **fields), (verdict if score is None else replace(verdict, score=score),))  # type: ignore[arg-type]


def group(*attempts: Attempt, demonstration: str | None = None, name: str = "p") -> Group:
    meta = {} if demonstration is None else {"demonstration": demonstration}
    return Group(Problem(name, PROMPT, "46", meta=meta), attempts)


def texts(attempts: Iterable[Attempt]) -> list[str]:
    return [attempt.sample.completion for attempt in attempts]


MIXED = group(
    attempt(3, "c"),
    attempt(0, "a"),
    attempt(1, "bad", "fail"),
    attempt(2, "a "),
    attempt(4, "d"),
    attempt(5, "cut", "pass", "length"),
    attempt(6, "boom", "error"),
    attempt(7, "none", "fail", "abort"),
)


def test_passed_keeps_distinct_passed_attempts_in_sample_order_up_to_the_cap() -> None:
    assert texts(passed()(MIXED)) == ["a", "c", "d"]
    assert texts(passed(cap=2)(MIXED)) == ["a", "c"]
    assert texts(passed(distinct=False)(MIXED)) == ["a", "a ", "c", "d"]
    assert texts(passed(key=len)(MIXED)) == ["a", "a "]
    assert texts(first(2)(MIXED)) == ["a", "a "]


def test_every_drop_has_a_reason() -> None:
    stream = demonstrations([MIXED, MIXED], passed(cap=2))
    assert [example.completion for example in stream] == ["a", "c"] * 2
    expected = {"duplicate": 2, "error": 2, "failed": 2, "over_cap": 2, "truncated": 4}
    assert dict(stream.tally.dropped) == expected
    assert (stream.tally.seen, stream.tally.kept, stream.tally.examples) == (16, 4, 4)
    assert stream.tally.as_dict()["dropped.truncated"] == 4
    kept = {example.source[0] for example in demonstrations([MIXED], passed(cap=2))}
    assert funnel([MIXED, MIXED], kept) == {**expected, "kept": 4}
    assert reasons(MIXED, kept)[:4] == ["kept", "kept", "failed", "duplicate"]


def test_best_ranks_by_score_logprob_or_a_function() -> None:
    scored = group(
        attempt(0, "low", score=0.6, logprob=-1.0),
        attempt(1, "top", score=0.9, logprob=-3.0),
        attempt(2, "tie", score=0.9, logprob=-2.0),
        attempt(3, "wrong", "fail", score=0.99, logprob=0.0),
    )
    assert texts(best()(scored)) == ["top"]
    assert texts(best(2)(scored)) == ["top", "tie"]
    assert texts(best(2, by="logprob")(scored)) == ["low", "tie"]
    assert texts(best(by=lambda attempt: attempt.sample.index)(scored)) == ["tie"]
    with pytest.raises(ValueError, match="no log-probability"):
        best(by="logprob")(MIXED)
    with pytest.raises(ValueError, match="by='length'"):
        best(by="length")  # type: ignore[arg-type]


def test_shortest_counts_tokens_and_falls_back_to_characters() -> None:
    by_tokens = group(attempt(0, "aaaa", token_ids=(1,)), attempt(1, "b", token_ids=(1, 2)))
    assert texts(shortest()(by_tokens)) == ["aaaa"]
    assert texts(shortest()(group(attempt(0, "aaaa", token_ids=()), attempt(1, "b", token_ids=())))) == ["b"]


@pytest.mark.parametrize("make", [lambda n: passed(cap=n), first, best, shortest, lambda n: farthest(cap=n)])
def test_a_limit_below_one_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make(0)  # type: ignore[operator]


def test_a_demonstration_trains_the_bare_prompt_on_the_sampled_tokens() -> None:
    (plain,) = demonstrations([group(attempt(0, "46"))])
    assert plain == Demonstration(PROMPT, "46", (1, 2), (0, 1, 2), 1.0, ("1/attempt/p/0",))
    (hinted,) = demonstrations([group(attempt(0, "46", view="hint", prompt="46 is right. 12+34="))])
    assert (hinted.prompt, hinted.prompt_ids, hinted.completion_ids) == (PROMPT, None, (0, 1, 2))
    (forced,) = demonstrations([group(attempt(0, "6", prefix="4"))])
    assert (forced.completion, forced.prompt_ids, forced.completion_ids) == ("46", None, None)
    (remote,) = demonstrations([group(attempt(0, "46", prompt_ids=(), token_ids=()))])
    assert (remote.prompt_ids, remote.completion_ids) == (None, None)


def test_spans_that_the_policy_did_not_write_are_refused() -> None:
    turns = (Turn("assistant", 0, 1, True), Turn("tool", 1, 3, False))
    with pytest.raises(ValueError, match="must not be trained on"):
        list(demonstrations([group(attempt(0, "46", turns=turns))]))


def test_a_selector_may_be_any_function_but_never_keeps_cut_off_or_unjudged_attempts() -> None:
    stream = demonstrations([MIXED], lambda group: group.attempts)
    assert [example.completion for example in stream] == ["c", "a", "bad", "a ", "d"]
    assert dict(stream.tally.dropped) == {"truncated": 2, "error": 1}


def test_gold_takes_human_solutions() -> None:
    problems = [group(demonstration="it is 46", name="p").problem, group(name="q").problem]
    stream = gold(problems)
    assert list(stream) == [Demonstration(PROMPT, "it is 46", source=("gold/p",))]
    assert stream.tally.as_dict() == {"seen": 2, "kept": 1, "examples": 1, "dropped.no_demonstration": 1}


def test_mix_and_distinct_add_up() -> None:
    human = group(demonstration="a").problem
    extra = Demonstration((Message("user", "12+34="),), "a")
    stream = distinct(mix(gold([human]), demonstrations([MIXED]), [extra, extra]))
    assert [(row.completion, row.prompt[0].role) for row in stream] == [
        ("a", "text"),
        ("c", "text"),
        ("d", "text"),
        ("a", "user"),
    ]
    tally = stream.tally
    assert (tally.seen, tally.kept, tally.examples, tally.dropped["duplicate"]) == (11, 4, 4, 3)
    assert tally.seen == tally.kept + sum(tally.dropped.values())
    by_equations = distinct([Demonstration(PROMPT, "<<1+1=2>>"), Demonstration(PROMPT, "so <<1+1 = 2>>")], _equations)
    assert len(list(by_equations)) == 1


def _equations(example: Demonstration) -> str:
    return equation_key(example.completion)


def test_weights() -> None:
    stream = weights(demonstrations([MIXED]), lambda row: len(row.completion) / 2)
    assert [row.weight for row in stream] == [0.5, 0.5, 0.5]
    assert stream.tally.kept == 3
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and not negative"):
            list(weights(demonstrations([MIXED]), lambda row, wrong=wrong: wrong))  # type: ignore[misc]


JUDGED = group(
    *(attempt(i, text) for i, text in enumerate(["A", "B", "A"])),
    *(attempt(i + 3, text, "fail") for i, text in enumerate(["x", "y", "z", "x", "B"])),
    attempt(8, "cut", "fail", "length"),
    attempt(9, "boom", "error"),
)


def pair_texts(mode: str, **kwargs: object) -> list[str]:
    return [pair.chosen + pair.rejected for pair in pairs([JUDGED], mode, **kwargs)]  # type: ignore[arg-type]


def test_pairs_by_mode() -> None:
    assert pair_texts("zip") == ["Ax", "By", "Az"]
    assert pair_texts("zip", k=2) == ["Ax", "By"]
    assert pair_texts("zip", k=100) == ["Ax", "By", "Az", "Bx", "Ay", "Bz"]
    assert pair_texts("cartesian") == ["Ax", "Ay", "Az", "Bx", "By", "Bz"]
    assert pair_texts("cartesian", k=2) == ["Ax", "Ay"]
    drawn = pair_texts("random", k=4, rng=random.Random(0))
    assert len(set(drawn)) == 4 and set(drawn) <= set(pair_texts("cartesian"))
    assert drawn == pair_texts("random", k=4, rng=random.Random(0))
    assert len({tuple(pair_texts("random", rng=random.Random(seed))) for seed in range(20)}) > 3
    assert len({tuple(pair_texts("zip", rng=random.Random(seed))) for seed in range(20)}) > 3


def test_pairs_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match="mode 'all'"):
        pairs([], "all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs rng"):
        pairs([], "random")
    with pytest.raises(ValueError, match="at least 1"):
        pairs([], k=0)


def test_pairs_count_every_attempt_once() -> None:
    stream = pairs([JUDGED, group(attempt(0, "A"))], k=1)
    (pair,) = stream
    assert pair.source == ("1/attempt/p/0", "1/attempt/p/3")
    assert (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) == ((1, 2), (0, 1), (0, 1))
    assert stream.tally.as_dict() == {
        "seen": 11,
        "kept": 2,
        "examples": 1,
        "dropped.duplicate": 3,
        "dropped.error": 1,
        "dropped.over_cap": 3,
        "dropped.truncated": 1,
        "dropped.unpaired": 1,
    }


def test_pairs_of_a_problem_do_not_depend_on_other_problems() -> None:
    other = replace(JUDGED, problem=replace(JUDGED.problem, id="q"))
    alone = list(pairs([JUDGED], "random", k=3, rng=random.Random(5)))
    assert list(pairs([other, JUDGED], "random", k=3, rng=random.Random(5)))[3:] == alone


def test_pairs_of_hinted_samples_leave_the_prompt_to_be_rendered() -> None:
    (pair,) = pairs([group(attempt(0, "A", view="hint"), attempt(1, "x", "fail"))])
    assert (pair.prompt, pair.prompt_ids, pair.chosen_ids) == (PROMPT, None, (0, 1))


def test_gold_is_preferred_to_own_answers_right_or_wrong() -> None:
    own = group(
        attempt(0, "46"),
        attempt(1, "it is  46"),
        attempt(2, "5", "fail"),
        attempt(3, "46", "pass"),
        attempt(4, "it is", "fail", "length"),
        attempt(5, "", "fail", "abort"),
        attempt(6, "?", "error"),
        demonstration="it is 46",
    )
    stream = gold_over_own([own, group(attempt(0, "46"))])
    assert [(row.chosen, row.rejected) for row in stream] == [("it is 46", "46"), ("it is 46", "5")]
    assert dict(stream.tally.dropped) == {
        "same_as_gold": 1,
        "duplicate": 1,
        "truncated": 2,
        "error": 1,
        "no_demonstration": 1,
    }
    assert (stream.tally.seen, stream.tally.kept) == (8, 2)
    longer = list(gold_over_own([own], include_truncated=True))
    assert [row.rejected for row in longer] == ["46", "5", "it is"]
    assert longer[2].rejected_ids == tuple(range(6)) and longer[2].chosen_ids is None
    assert longer[0].source == ("gold/p", "1/attempt/p/0")
    unjudged = replace(attempt(0, "46"), verdicts=())
    assert len(list(gold_over_own([group(unjudged, demonstration="it is 46")]))) == 1


def test_equation_key() -> None:
    assert equation_key("<<1 + 1= 2>> then <<2*3=6>>6") == "1+1=2|2*3=6"
    assert equation_key("just   words\n") == "just words"
    assert equation_key("<< >>") == "<< >>"


@pytest.mark.parametrize(
    "text",
    [
        "48/2 = <<48/2=24>>24",
        "<<10/3=3.333>>",
        "<<1/3+1/3+1/3=1>>",
        "<<007*2=14>>",
        "<<-(3-5)=2>>",
        "<<2**10=1024>>",
        "<<7//2=3>> <<7%2=1>>",
        "<<$1,000*2=$2,000>>",
        "<<.5*4=2=2.0>>",
        "no equations",
        "<<0.1+0.2=0.3>>",
    ],
)
def test_equations_that_hold(text: str) -> None:
    assert equations_hold(text)


@pytest.mark.parametrize(
    "equation",
    [
        "1+1=3",
        "1+1",
        "=",
        "1=",
        "10/3=3.33",
        "1/0=1",
        "x=x",
        "True=1",
        "__import__('os')=1",
        "1 if 1 else 2=1",
        "9**9**9**9=1",
        "2**-99999999=0",
        "2**0.5=1.41421356",
        "1e5=100000",
        "(" * 150 + "1" + ")" * 150 + "=1",
        "+" * 190 + "1=1",
        "1" * 500 + "=" + "1" * 500,
        "9" * 60 + "**99=1",
        "1(2)=2",
        "1.2.3=1",
        "()=0",
    ],
)
def test_equations_that_do_not_hold(equation: str) -> None:
    long_but_true = equation.startswith("+")
    assert equations_hold(f"<<{equation}>>") is long_but_true
    assert not equations_hold("words only", at_least=1)


@settings(max_examples=300, deadline=None)
@given(st.text("0123456789.+-*/%()$, <>=", max_size=60))
def test_equations_never_raise(text: str) -> None:
    assert equations_hold(f"<<{text}>>") in (True, False)


def reference_distance(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


@settings(max_examples=300, deadline=None)
@given(st.text("abc\u00e9", max_size=40), st.text("abc\u00e9", max_size=40))
def test_edit_distance_is_levenshteins(a: str, b: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a) == reference_distance(a, b)


def test_edit_distance_known() -> None:
    assert (edit_distance("kitten", "sitting"), edit_distance("", "abc"), edit_distance("x" * 200, "")) == (3, 3, 200)


def test_farthest_prefers_the_wording_unlike_the_others() -> None:
    alike, unlike = "We add: <<1+1=2>>", "Two of them, since a pair is what one and one make <<1+1=2>>"
    other = attempt(0, "We add: <<2-0=2>>")
    solutions = group(other, attempt(1, alike), attempt(2, unlike), attempt(3, alike + " "))
    assert texts(farthest()(solutions)) == [other.sample.completion, unlike]
    stream = demonstrations([solutions], farthest(cap=1))
    assert len(list(stream)) == 1
    assert dict(stream.tally.dropped) == {"duplicate": 2, "over_cap": 1}


outcomes = st.sampled_from(["pass", "pass", "fail", "error"])
finishes: st.SearchStrategy[Finish] = st.sampled_from(["stop", "stop", "stop", "length", "abort", "repetition"])
attempts = st.lists(
    st.tuples(st.sampled_from(["a", "b", "b ", "cc", "<<1=1>> d", "<<1=1>> long e"]), outcomes, finishes), max_size=10
).map(lambda rows: [attempt(i, *row, score=(i * 7 % 5) / 5) for i, row in enumerate(rows)])
SELECTORS: dict[str, tuple[Selector, int | None]] = {
    "passed": (passed(), None),
    "passed, 2": (passed(cap=2), 2),
    "passed, any": (passed(cap=3, distinct=False), 3),
    "passed by equations": (passed(key=equation_key), None),
    "first": (first(2), 2),
    "best": (best(2), 2),
    "shortest": (shortest(1), 1),
    "farthest": (farthest(), None),
    "farthest, 1": (farthest(cap=1), 1),
}


@pytest.mark.parametrize("name", SELECTORS)
@settings(max_examples=60, deadline=None)
@given(attempts=attempts, seed=st.integers(0, 9))
def test_selectors_keep_their_promises(name: str, attempts: list[Attempt], seed: int) -> None:
    select, cap = SELECTORS[name]
    one = group(*attempts)
    kept = select(one)
    assert all(attempt.passed for attempt in kept)
    assert cap is None or len(kept) <= cap
    assert len({attempt.sample.id for attempt in kept}) == len(kept)
    assert bool(kept) == one.solved
    shuffled = group(*random.Random(seed).sample(attempts, len(attempts)))
    assert select(shuffled) == kept
    assert select(group(*kept)) == kept
    _, dropped = select.split(one)
    assert len(kept) + len(dropped) == len(attempts)


@settings(max_examples=100, deadline=None)
@given(st.lists(attempts, max_size=4), st.integers(0, 9))
def test_streams_count_everything_and_distinct_is_idempotent(groups: list[list[Attempt]], seed: int) -> None:
    many = [group(*attempts, name=str(i)) for i, attempts in enumerate(groups)]
    stream = distinct(demonstrations(many, passed(distinct=False)))
    rows = list(stream)
    assert list(distinct(rows)) == rows
    assert stream.tally.seen == stream.tally.kept + sum(stream.tally.dropped.values()) == sum(map(len, groups))
    assert stream.tally.examples == len(rows)
    built = pairs(many, "random", k=2, rng=random.Random(seed))
    by_id = {attempt.sample.id + g.problem.id: attempt for g in many for attempt in g.attempts}
    for pair in built:
        assert pair.chosen.split() != pair.rejected.split()
    assert built.tally.seen == built.tally.kept + sum(built.tally.dropped.values())
    assert len(by_id) == built.tally.seen


def test_a_million_attempts_are_selected_in_seconds() -> None:
    import time

    shape = [attempt(i, f"{i % 5} is the answer", "pass" if i % 3 else "fail") for i in range(8)]
    groups = (group(*shape) for _ in range(12_500))
    start = time.process_time()
    stream = demonstrations(groups, passed(cap=4))
    assert sum(1 for _ in stream) == 4 * 12_500
    # A tenth of a million. Measured at a tenth of this limit; it is a tripwire for quadratic code, not a benchmark.
    assert time.process_time() - start < 2.0
    assert stream.tally.seen == 100_000


def test_streams_are_lazy() -> None:
    def groups() -> Iterable[Group]:
        yield MIXED
        raise AssertionError("read too far")

    stream = mix(demonstrations(groups()), gold([]))
    assert [next(stream).completion for _ in range(3)] == ["a", "c", "d"]


def test_verdict_free_attempts_pass() -> None:
    assert replace(attempt(0, "a"), verdicts=()).passed
    assert not Attempt(attempt(0, "a").sample, (Verdict("pass"), Verdict("fail"))).passed
