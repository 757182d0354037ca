"""The real engine on tiny models, against plain forward passes of the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from selfimprove.errors import CanaryError, ConfigError, PreconditionError
from selfimprove.types import Message, Policy, SampleRequest, SamplingParams

from .engine import Engine, adapter, build, canary, load_another, reference, request

pytestmark = pytest.mark.timeout(240)
pytest.importorskip("vllm.version")

UNICODE = "é世🙂"
EOS = 2
ENDS = {EOS, 7}  # the tokenizer's, and the chat template's
ROWS = [((1, 40, 41, 42), (50, 51, 52, 53, EOS)), ((1, 77, 60), (33, 34, 80, 81))]


def token_id(character: str) -> int:
    """In the vocabulary of `models`: 4 special tokens, 4 roles, newline, printable ASCII."""
    return 8 if character == "\n" else ord(character) - 32 + 9


def spoken(ids: Sequence[int]) -> int:
    """How many of ``ids`` are characters: a random model says special tokens too, which are not text."""
    return sum(token >= token_id("\n") for token in ids)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the engine's process keeps temporary files."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def engine(scratch: Path) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(scratch))
        patch.syspath_prepend(Path(__file__).parents[2])  # the new process imports `tests` whatever pytest's mode
        # float32: what the engine computes can be compared with a forward pass to the third digit.
        engine = Engine({"dtype": "float32", "canary_tolerance": 0.01})
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def models(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two models of each kind that share an architecture, by name."""
    root = tmp_path_factory.mktemp("models")
    vocabulary = "\n" + "".join(map(chr, range(32, 127))) + UNICODE
    built = {}
    for family in ("tiny_llama", "tiny_qwen3"):
        for tied in (True, False):
            for seed in (0, 1):
                name = f"{family}-{'tied' if tied else 'untied'}-{seed}"
                built[name] = engine.run(
                    build, family, str(root / name), vocabulary=vocabulary, seed=seed,
                    tie_word_embeddings=tied, chat_template=True,
                )  # fmt: skip
    return built


@pytest.fixture
def loaded(engine: Engine, models: dict[str, str]) -> Engine:
    """The engine, serving the first tied Llama."""
    engine.call("load", Policy(models["tiny_llama-tied-0"], "llama-0"))
    return engine


# -- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "tiny_llama-tied",
        pytest.param("tiny_llama-untied", marks=pytest.mark.slow),
        pytest.param("tiny_qwen3-tied", marks=pytest.mark.slow),
        pytest.param("tiny_qwen3-untied", marks=pytest.mark.slow),
    ],
)
def test_swapped_weights_compute_what_a_fresh_model_computes(engine: Engine, models: dict[str, str], kind: str) -> None:
    first, second = models[f"{kind}-0"], models[f"{kind}-1"]
    engine.call("load", Policy(first, "first"))
    before = engine.call("score", ROWS)
    report = engine.call("load", Policy(second, "second"))
    after = engine.call("score", ROWS)
    assert not report["rebuilt"]
    assert "swap" in report["seconds"]
    for path, served in ((first, before), (second, after)):
        for row, expected in zip(served, engine.run(reference, path, ROWS), strict=True):
            assert row == pytest.approx(expected, abs=2e-3)
    assert abs(before[0][0] - after[0][0]) > 0.05  # the two models do differ


def test_a_swap_forgets_cached_prefixes_of_the_old_weights(engine: Engine, models: dict[str, str]) -> None:
    prompt, greedy = "a long shared prefix " * 8, SamplingParams(temperature=0.0, max_tokens=16, logprobs=True)
    said = []
    for seed in (0, 1, 0):
        path = models[f"tiny_llama-tied-{seed}"]
        engine.call("load", Policy(path, f"policy-{seed}"))
        (sample,) = engine.draw([request("p", prompt)], greedy)
        assert sample.policy == f"policy-{seed}"
        (expected,) = engine.run(reference, path, [(sample.prompt_ids, sample.token_ids)])
        assert sample.logprob == pytest.approx(sum(expected), abs=5e-3)
        said.append(sample.token_ids)
    assert said[0] == said[2] != said[1]


@pytest.mark.slow
def test_another_architecture_rebuilds_the_engine(engine: Engine, models: dict[str, str]) -> None:
    engine.call("load", Policy(models["tiny_llama-tied-0"], "llama"))
    assert engine.call("load", Policy(models["tiny_qwen3-tied-0"], "qwen"))["rebuilt"]
    (row,) = engine.call("score", ROWS[:1])
    assert row == pytest.approx(engine.run(reference, models["tiny_qwen3-tied-0"], ROWS[:1])[0], abs=2e-3)


def test_canary_passes_for_the_weights_it_was_made_from(engine: Engine, models: dict[str, str]) -> None:
    path = models["tiny_llama-tied-1"]
    engine.call("load", Policy(models["tiny_llama-tied-0"], "before"))
    report = engine.call("load", Policy(path, "after"), canary=engine.run(canary, path))
    assert not report["rebuilt"]
    assert report["canary"]["positions"] == 41
    assert report["canary"]["mean"] < 1e-3


def test_canary_of_other_weights_is_an_error_and_stops_serving(engine: Engine, models: dict[str, str]) -> None:
    engine.call("load", Policy(models["tiny_llama-tied-0"], "before"))
    wrong = engine.run(canary, models["tiny_llama-tied-0"])
    with pytest.raises(CanaryError, match=r"differ .* by \d+\.\d+ nats"):
        engine.call("load", Policy(models["tiny_llama-tied-1"], "after"), canary=wrong)
    report = engine.call("load", Policy(models["tiny_llama-tied-0"], "again"), canary=wrong)
    assert report["canary"]["passed"]
    assert report["rebuilt"]


def test_an_adapter_is_served_merged(engine: Engine, models: dict[str, str], scratch: Path, tmp_path: Path) -> None:
    base = models["tiny_llama-tied-0"]
    path = engine.run(adapter, base, str(tmp_path / "adapter"))
    engine.call("load", Policy(base, "base"))
    plain = engine.call("score", ROWS[:1])[0]
    report = engine.call("load", Policy(base, "adapted", adapter=path))
    assert len(list(scratch.glob("*merged*"))) == 1
    assert not report["rebuilt"]
    (row,) = engine.call("score", ROWS[:1])
    assert row == pytest.approx(engine.run(reference, base, ROWS[:1], adapter=path)[0], abs=2e-3)
    assert row != pytest.approx(plain, abs=0.02)
    engine.call("load", Policy(base, "base"))
    assert engine.call("score", ROWS[:1])[0] == pytest.approx(plain, abs=1e-4)
    assert not list(scratch.glob("*merged*"))


def test_a_directory_without_a_model_is_a_precondition(loaded: Engine, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="no tokenizer"):
        loaded.call("load", Policy(str(tmp_path), "nothing"))


# -- seeds -------------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_tokens_in_any_company(loaded: Engine) -> None:
    requests = [request(f"p{i}", f"problem {i}: ", n=4, first_seed=100 * i) for i in range(20)]
    params = SamplingParams(max_tokens=24)
    together = loaded.draw(requests, params)
    trickled = loaded.draw(requests[::-1], params, at_once=1)
    alone = loaded.draw(requests[7:8], params)
    assert together == trickled
    assert alone == [sample for sample in together if sample.problem_id == "p7"]
    assert len({sample.token_ids for sample in together}) > 60


def test_greedy_ignores_seeds(loaded: Engine) -> None:
    samples = loaded.draw([request("p", "say ", n=5)], SamplingParams(temperature=0.0, max_tokens=12))
    assert len({sample.token_ids for sample in samples}) == 1


def test_many_long_prompts_fit_no_single_batch(loaded: Engine) -> None:
    """Seeded requests whose prompts exceed one batch in total: cut into chunks, they would kill a CPU engine."""
    requests = [request(f"p{i}", f"{i:03d} " * 50, n=1, first_seed=i) for i in range(60)]
    samples = loaded.draw(requests, SamplingParams(max_tokens=4))
    assert len(samples) == 60
    assert sum(len(sample.prompt_ids) for sample in samples) > 2 * 4096


# -- ends --------------------------------------------------------------------------------------------------------


def test_stop_strings_cut_text_and_ids_alike(loaded: Engine) -> None:
    requests, ends = [request("p", "once upon a time", n=60)], (token_id("e"), token_id("7"))
    whole = loaded.draw(requests, SamplingParams(max_tokens=60))
    cut = loaded.draw(requests, SamplingParams(max_tokens=60, stop=("e", "7"), logprobs=True))
    stopped = 0
    for full, sample in zip(whole, cut, strict=True):
        at = next((at for at, token in enumerate(full.token_ids) if token in ends), None)
        if at is None:
            assert (sample.completion, sample.token_ids, sample.finish) == (
                full.completion, full.token_ids, full.finish,
            )  # fmt: skip
            continue
        stopped += 1
        assert sample.token_ids == full.token_ids[:at]
        assert sample.completion == full.completion[: min(map(full.completion.find, set("e7") & set(full.completion)))]
        assert sample.finish == "stop"
        (scores,) = loaded.call("score", [(sample.prompt_ids, sample.token_ids)])
        assert sample.logprob == pytest.approx(sum(scores), abs=5e-3)
    assert stopped > 10


def test_truncated_and_ended_samples_are_told_apart(loaded: Engine) -> None:
    samples = loaded.draw([request("p", "x", n=64)], SamplingParams(max_tokens=60, logprobs=True))
    ended = [sample for sample in samples if sample.finish == "stop"]
    truncated = [sample for sample in samples if sample.truncated]
    assert len(ended) + len(truncated) == 64
    assert ended
    assert truncated
    assert {len(sample.token_ids) for sample in truncated} == {60}
    assert all(len(sample.completion) == spoken(sample.token_ids) for sample in samples)
    for sample in ended:
        assert sample.token_ids[-1] in ENDS
        assert not ENDS & set(sample.token_ids[:-1])
    (scores,) = loaded.call("score", [(ended[0].prompt_ids, ended[0].token_ids)])
    assert ended[0].logprob == pytest.approx(sum(scores), abs=5e-3)


def test_a_prompt_that_does_not_fit_aborts_alone(loaded: Engine) -> None:
    requests = [request("long", "x" * 300, n=2), request("short", "x", n=2)]
    long, short = (loaded.draw(requests, SamplingParams(max_tokens=5))[at : at + 2] for at in (0, 2))
    assert [(sample.finish, sample.token_ids, sample.completion) for sample in long] == [("abort", (), "")] * 2
    assert all(sample.truncated for sample in long)
    assert {sample.finish for sample in short} <= {"stop", "length"}
    with pytest.raises(ConfigError, match="row 1: 300 tokens do not fit"):
        loaded.call("score", [((1,), (40,)), ((1,), (40,) * 299)])


def test_the_models_own_generation_settings_add_ends_and_nothing_else(
    loaded: Engine, models: dict[str, str], tmp_path: Path
) -> None:
    params, requests = SamplingParams(max_tokens=40), [request("p", "hello", n=40)]
    plain = loaded.draw(requests, params)
    path = shutil.copytree(models["tiny_llama-tied-0"], tmp_path / "model")
    end = next(token for sample in plain for token in sample.token_ids[3:4] if token >= token_id("\n"))
    settings = {"eos_token_id": [EOS, end], "do_sample": True, "temperature": 0.01, "top_k": 1}
    (path / "generation_config.json").write_text(json.dumps(settings))
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "use_cache": False, "pad_token_id": EOS}))
    assert not loaded.call("load", Policy(str(path), "other settings"))["rebuilt"]
    for full, sample in zip(plain, loaded.draw(requests, params), strict=True):
        if end in full.token_ids:
            at = full.token_ids.index(end)
            assert sample.token_ids == full.token_ids[: at + 1]
            assert sample.completion == full.completion[: spoken(full.token_ids[:at])]
            assert sample.finish == "stop"
        else:
            assert sample.token_ids == full.token_ids


# -- prompts and parameters ----------------------------------------------------------------------------------------


def test_prompts_are_rendered_plain_or_with_the_chat_template(loaded: Engine) -> None:
    chat = SampleRequest("c", "c", (Message("user", "hi"),), (0,), (1,), view="hint", parent="earlier")
    chatted, plain = loaded.draw([chat, request("p", "hi")], SamplingParams(max_tokens=3))
    assert chatted.prompt == "<bos><|user|>hi<|end|><|assistant|>"
    assert (chatted.view, chatted.parent) == ("hint", "earlier")
    assert chatted.prompt_ids.count(1) == 1
    assert plain.prompt == "hi"
    assert plain.prompt_ids[0] == 1
    assert len(plain.prompt_ids) == 3


def test_a_prefix_starts_the_response(loaded: Engine) -> None:
    (sample,) = loaded.draw([request("p", "2+2=", prefix=" I say")], SamplingParams(max_tokens=3))
    (joined,) = loaded.draw([request("p", "2+2= I say")], SamplingParams(max_tokens=3))
    assert (sample.prefix, sample.prompt) == (" I say", "2+2= I say")
    assert (sample.prompt_ids, sample.token_ids) == (joined.prompt_ids, joined.token_ids)


def test_text_beyond_ascii_survives(loaded: Engine) -> None:
    beyond = token_id("~") + 1
    extra = {"allowed_token_ids": [token_id("~"), *range(beyond, beyond + len(UNICODE))]}
    (sample,) = loaded.draw([request("p", UNICODE * 3)], SamplingParams(max_tokens=40, extra=extra))
    assert len(sample.prompt_ids) == 1 + 3 * len(UNICODE)
    assert len(sample.completion) == 40
    assert set(sample.completion) <= set(UNICODE + "~")
    assert set(sample.completion) & set(UNICODE)


def test_native_parameters_reach_the_engine(loaded: Engine) -> None:
    endless = {"ignore_eos": True, "repetition_penalty": 1.1}
    samples = loaded.draw([request("p", "x", n=32)], SamplingParams(max_tokens=50, extra=endless))
    assert {sample.finish for sample in samples} == {"length"}
    extra = {"repetition_detection": {"max_pattern_size": 1, "min_count": 3}, "allowed_token_ids": [50]}
    (sample,) = loaded.draw([request("p", "x")], SamplingParams(max_tokens=50, extra=extra))
    assert (sample.finish, len(sample.token_ids)) == ("repetition", 3)
    assert sample.truncated


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (SamplingParams(extra={"temprature": 1}), r"sampling\.params\.temprature"),
        (SamplingParams(extra={"seed": 1}), "set by the sampler itself"),
        (SamplingParams(temperature=3.0), "temperature must be in"),
        (SamplingParams(extra={"allowed_token_ids": [99999]}), "out-of-vocab"),
    ],
)
def test_parameters_that_cannot_work_are_configuration_errors(
    loaded: Engine, params: SamplingParams, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded.call("pump", [request("p", "x")], params)
    assert loaded.call("pump", [], SamplingParams()) == ([], 0)


def test_abort_drops_what_is_in_flight(loaded: Engine) -> None:
    _, flying = loaded.call("pump", [request("p", "x", n=500)], SamplingParams(max_tokens=200))
    assert flying > 0
    loaded.call("abort")
    assert loaded.call("pump", [], SamplingParams()) == ([], 0)
    assert len(loaded.draw([request("p", "x", n=3)], SamplingParams(max_tokens=3))) == 3


def test_unknown_engine_options_are_refused_by_name(engine: Engine, models: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.engine\.max_model_length") as caught:
        engine.run(load_another, {"engine": {"max_model_length": 100}}, models["tiny_llama-tied-0"])
    assert "max_model_len" in str(caught.value.hint)


@pytest.mark.slow
def test_thinking_that_the_prompt_opens_is_a_span(models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every response of the tiny model thinks, because the prompt ends with the opening tag; some never close it."""
    thinking = {"start": "=", "end": "7", "train_on": "answer"}
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    engine = Engine({"dtype": "float32"}, {"thinking": thinking})
    try:
        engine.call("load", Policy(models["tiny_llama-tied-0"], "llama-0"))
        samples = engine.draw([request("p", "1+1=", n=64)], SamplingParams(max_tokens=60))
    finally:
        engine.close()
    closed = [sample for sample in samples if "7" in sample.completion]
    assert 5 < len(closed) < 64
    for sample in samples:
        first = sample.turns[0]
        assert (first.role, first.start, first.trained) == ("thinking", 0, False)
        if sample not in closed:
            assert sample.finish in ("thinking", "length") and first.end == len(sample.token_ids)
            continue
        cut = sample.completion.index("7") + 1
        assert first.chars == cut and sample.spoken.completion == sample.completion[cut:].lstrip("\n")
        said = sample.turns[1]
        assert (said.start, said.end, said.trained) == (first.end, len(sample.token_ids), True)
        assert spoken(sample.token_ids[: first.end]) == cut


@pytest.mark.slow
def test_a_budget_of_thinking_closes_it(models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's own budget, by its own names: after three tokens the closing tag is forced."""
    thinking = {"start": "=", "end": "7", "train_on": "all"}
    reasoning = {"reasoning_start_str": "=", "reasoning_end_str": "7"}
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    engine = Engine({"dtype": "float32", "engine": {"reasoning_config": reasoning}}, {"thinking": thinking})
    try:
        engine.call("load", Policy(models["tiny_llama-tied-0"], "llama-0"))
        params = SamplingParams(max_tokens=30, extra={"thinking_token_budget": 3, "ignore_eos": True})
        samples = engine.draw([request("p", "1+1=", n=16)], params)
    finally:
        engine.close()
    for sample in samples:
        assert sample.turns[0].role == "thinking" and sample.turns[0].end <= 4, sample
        assert "7" in sample.completion[:4]
