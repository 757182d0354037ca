"""What a policy reads and writes: prompts to ids, and an engine's ids to the text and the spans of a sample.

Contract: every prompt goes through `selfimprove.prompts`; ids are never tokenised again. A completion cut at a stop
string keeps the ids whose text does not run past the cut.

See it work: ``pytest tests/sampling``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from selfimprove.prompts import Rendered, Style, end_token_ids, load_tokenizer, render
from selfimprove.sampling.texts import Decoder
from selfimprove.types import Finish, Message, Sample, SampleRequest, SamplingParams, Turn

FINISHES: dict[str, Finish] = {"stop": "stop", "length": "length", "repetition": "repetition"}
CACHED_PROMPTS = 8192
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "chat_template.jinja")


class Flight(NamedTuple):
    """One sample under way."""

    request: SampleRequest
    number: int
    seed: int
    prompt: Rendered
    params: SamplingParams
    begun: tuple[int, ...] = ()


class Completion(NamedTuple):
    """What an engine drew. ``text`` may be empty where ids are; ``logprobs`` has one figure per id, in nats.

    ``stopped_by`` is the stop string that ended it, if one did.
    """

    ids: tuple[int, ...]
    text: str
    finish: str | None
    stopped_by: str | None = None
    logprobs: Sequence[float] | None = None


class Words:
    """The tokenizer of the policy that is served, and what samples are made of with it. ``model`` is a `ModelConfig`
    as a dictionary."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self._model = model
        self._style = Style.of(dict(model))
        self._stamp: Any = None
        self._prompts: dict[tuple[tuple[Message, ...], str], Rendered] = {}
        self.tokenizer: Any = None
        self.decoder: Any = None
        self.end_ids: tuple[int, ...] = ()

    def read(self, source: str) -> bool:
        """Use the tokenizer and the end tokens in ``source``; whether the vocabulary is the one used so far."""
        same = self._read_tokenizer(source)
        self.end_ids = end_token_ids(self.tokenizer, source, self._style)
        return same

    def _read_tokenizer(self, source: str) -> bool:
        files = [Path(source, name) for name in TOKENIZER_FILES]
        stamp = [file.read_bytes() for file in files if file.is_file()] or source
        if stamp == self._stamp:
            return True
        old, self._stamp = self.tokenizer, stamp
        template, trust = self._model.get("chat_template"), bool(self._model.get("trust_remote_code"))
        self.tokenizer = load_tokenizer(source, chat_template=template, trust_remote_code=trust)
        self.decoder = Decoder(self.tokenizer)
        self._prompts.clear()
        return old is not None and old.get_vocab() == self.tokenizer.get_vocab()

    def render(self, request: SampleRequest) -> Rendered:
        """The prompt of a request, with its prefix."""
        key = (request.prompt, request.prefix)
        prompt = self._prompts.get(key)
        if prompt is None:
            if len(self._prompts) >= CACHED_PROMPTS:
                self._prompts.clear()
            prompt = self._prompts[key] = render(self.tokenizer, request.prompt, request.prefix, self._style)
        return prompt

    def finished(self, flight: Flight, drawn: Completion, policy: str) -> Sample:
        """The sample that was drawn by the policy with the digest ``policy``."""
        ids, text, logprobs = (*flight.begun, *drawn.ids), drawn.text, drawn.logprobs
        finish = FINISHES.get(drawn.finish or "", "abort")
        skip = bool(flight.params.extra.get("skip_special_tokens", True))
        if flight.begun:  # the engine saw a part of it
            whole = list(ids[:-1] if finish == "stop" else ids)
            text = "" if self.decoder.fast else self.tokenizer.decode(whole, skip_special_tokens=skip)
        if drawn.stopped_by is not None and finish == "stop":
            ids = ids[: self.decoder.kept(flight.prompt.ids, ids, text, skip)]
        elif not text and ids and self.decoder.fast:
            spoken = ids[:-1] if finish == "stop" else ids
            text = self.decoder.text(flight.prompt.ids, spoken, skip)
        logprob = None if logprobs is None else sum(logprobs[: len(ids)])
        thinking = self._model.get("thinking")
        turns: tuple[Turn, ...] = ()
        if thinking is not None:
            closed, turns = self.decoder.spans(thinking, flight.prompt, ids, skip)
            finish = finish if closed or finish != "stop" else "thinking"
        return sample(flight, policy, text, ids, finish, logprob, turns)

    def weighed(self, flight: Flight, logprobs: Sequence[float], policy: str) -> Sample:
        """A scored request, from the log-probability of every id of its prompt: that of its prefix."""
        bare, ids = self.render(replace(flight.request, prefix="")).ids, flight.prompt.ids
        start = next((at for at, (one, two) in enumerate(zip(bare, ids, strict=False)) if one != two), len(bare))
        return sample(flight, policy, logprob=sum(logprobs[max(start, 1) : len(ids)]), finish="stop")


def sample(
    flight: Flight,
    policy: str,
    text: str = "",
    ids: tuple[int, ...] = (),
    finish: Finish = "abort",
    logprob: float | None = None,
    turns: tuple[Turn, ...] = (),
) -> Sample:
    """The sample of a flight; without more, one whose prompt does not fit."""
    request, prompt = flight.request, flight.prompt
    return Sample(
        f"{request.key}/{flight.number}",
        request.problem_id,
        flight.number,
        request.view,
        prompt.text,
        prompt.ids,
        text,
        ids,
        finish,
        flight.seed,
        policy,
        request.prefix,
        request.parent,
        turns,
        logprob,
        len(flight.begun),
    )
