"""`round.attempt` against raw ``LLM.generate``: what judging, storing and publishing take from sampling.

Contract: two engines with the same options and environment, each in a Ray actor of its own, both started, loaded and
used before the clock runs. The baseline gets one seeded request per sample, as token ids, and returns nothing but a
count. Every sample has exactly as many new tokens as named *and* ends itself, so that the verifier judges it: until
the last token only ``1`` and ``2`` may be sampled, then nearly everything ends the completion (``min_tokens`` and
``stop_token_ids``; with ``ignore_eos`` a sample is cut off, and what is cut off is never judged).

See it work: ``python -m benchmarks attempt --samples 128``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Figure, Options, Result, Stopwatch, driver_causes, in_turns, ratios, run_context, say
from selfimprove.types import Problem

TARGETS = {64: ">= 0.95", 8: ">= 0.85"}
SAMPLES = {64: 2048, 8: 12288}
PER_PROBLEM = 4
CONTEXT_TOKENS = 128
ALLOWED = "12"


class RawEngine:
    """What people write: one `LLM`, given all prompts at once."""

    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import selfimprove  # noqa: F401  (hides companions of torch that do not fit it, or vllm cannot be imported)

        self._path, self._options = path, dict(options)

    def load(self) -> None:
        from vllm import LLM

        self._llm = LLM(model=self._path, **self._options)

    def generate(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int | None], n: int, params: Any) -> int:
        """The number of new tokens of ``n`` completions of each prompt."""
        from vllm import SamplingParams

        requests = [{"prompt_token_ids": list(ids)} for ids in prompts]
        settings = [SamplingParams(n=n, seed=seed, **params) for seed in seeds]
        outputs = self._llm.generate(requests, settings, use_tqdm=False)
        return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)


def measure(options: Options) -> Result:
    from selfimprove.data import load
    from selfimprove.testing import tiny_llama

    result = Result("attempt")
    sizes = {tokens: options.samples or samples for tokens, samples in SAMPLES.items()}
    with tempfile.TemporaryDirectory(prefix="selfimprove-attempt-") as name:
        model = tiny_llama(f"{name}/model", max_position_embeddings=CONTEXT_TOKENS)
        problems = load("arithmetic", {"n": -(-max(sizes.values()) // PER_PROBLEM)})
        settings = {
            "model": {"source": model},
            "data": {"problems": "arithmetic"},
            "recipe": "rest_em",
            "verifier": "answer_match",
            "sampling": {"engine": {"max_model_len": CONTEXT_TOKENS}},
        }
        with run_context(settings, Path(name, "run"), problems) as context:
            bench = _Bench(context, model, result)
            for tokens, samples in sizes.items():
                bench.compare(tokens, problems[: samples // PER_PROBLEM], options.pairs)
    return result


class _Bench:
    """Both engines, and everything that is asked of both."""

    def __init__(self, context: Any, model: str, result: Result) -> None:
        from selfimprove.policies import local_policy
        from selfimprove.prompts import load_tokenizer

        self.context, self.result = context, result
        self.policy, self.tokenizer = local_policy(Path(model)), load_tokenizer(model)
        self.raw = self._start_raw(model)
        self.turn = 0
        say("loading both engines")
        context.workers.load(self.policy)
        context.workers.pool(context.config.verifier).call("check")
        self.raw.call("load")

    def _start_raw(self, model: str) -> Any:
        from selfimprove.cluster import Resources
        from selfimprove.sampling.options import engine_environment, engine_options, installed_device

        sampling, device = self.context.config.sampling.model_dump(), installed_device()
        options = engine_options(sampling, {}, model, device)
        resources = Resources(environment=engine_environment(sampling, device))
        return self.context.workers.backend.start("benchmarks.attempt:RawEngine", model, options, resources=resources)

    def compare(self, tokens: int, problems: Sequence[Problem], pairs: int) -> None:
        from selfimprove.prompts import render

        prompts = [list(render(self.tokenizer, problem.prompt).ids) for problem in problems]
        stops = [number for word, number in self.tokenizer.get_vocab().items() if word not in ALLOWED]
        params = {"max_tokens": tokens, "min_tokens": tokens - 1, "stop_token_ids": stops, "temperature": 1.0}
        each = [ids for ids in prompts for _ in range(PER_PROBLEM)]
        watch, expected, walls = Stopwatch(), tokens * len(each), list[float]()
        seeds = list(range(len(each)))

        def attempt(turn: int) -> None:
            with watch.on(driver_causes()):
                began = time.perf_counter()
                groups = self.attempt(problems, params)
                walls.append(time.perf_counter() - began)
            assert groups.counts["tokens"] == expected, groups.counts

        def raw(turn: int) -> None:
            assert self.raw.call("generate", each, seeds, 1, params) == expected

        def raw_groups(turn: int) -> None:
            assert self.raw.call("generate", prompts, [None] * len(prompts), PER_PROBLEM, params) == expected

        self.attempt(problems[:64], params)
        self.raw.call("generate", prompts[:64], seeds[:64], 1, params)
        seconds = in_turns(pairs, {"attempt": attempt, "raw": raw, "raw n=4": raw_groups})
        self.tell(tokens, len(each), seconds)
        self.result.seconds[f"attempt's driver at {tokens}, {pairs} runs"] = watch.table(sum(walls))

    def attempt(self, problems: Sequence[Problem], params: Mapping[str, Any]) -> Any:
        """One durable attempt, under a name of its own."""
        from selfimprove.round import Round
        from selfimprove.run import named

        self.turn += 1
        round_ = Round(self.turn, self.policy, named(self.policy), problems, self.context)
        groups = round_.attempt(n=PER_PROBLEM, **params)
        self.last = {**round_.seconds, **{name: float(count) for name, count in round_.counts.items()}}
        return groups

    def tell(self, tokens: int, samples: int, seconds: Mapping[str, list[float]]) -> None:
        raw = seconds["raw"]
        figures = [
            Figure(f"attempt / raw LLM.generate, {tokens} tokens", ratios(raw, seconds["attempt"]), TARGETS[tokens]),
            Figure(
                f"raw unseeded n={PER_PROBLEM} / raw LLM.generate, {tokens} tokens", ratios(raw, seconds["raw n=4"])
            ),
            Figure(f"raw LLM.generate, {tokens} tokens", [tokens * samples / s for s in raw], "", "tokens/s"),
        ]
        self.result.figures += figures
        self.result.seconds[f"wall of one run at {tokens} tokens, {samples} samples"] = {
            name: sorted(found)[len(found) // 2] for name, found in seconds.items()
        }
        self.result.seconds[f"as the last round recorded it, {tokens} tokens"] = self.last
        if min(map(min, seconds.values())) < 5:
            self.result.notes.append(f"{tokens} tokens: a run took less than 5 s, so the ratio is rough")
